"""What the dashboard reads: answers of panels and choices of filters, cached for a minute."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import streamlit as st

from monitoring.pages.panels import FOLDER, Panel, Result, read_folder, run
from tasks.errors import ConfigError, WarehouseUnreachable
from tasks.ops import batches
from tasks.settings import get_settings

# Operations look at the minute; nobody waits for a figure of gold that the next build brings.
_SECONDS = 60
# Choices of the filters that every page may use; a panel's header adds its own.
_CHOICES = {
    "source": batches.SOURCES,
    "table": batches.TABLES,
}
TIMES = frozenset({"since", "until", "since_before"})
"""Parameters that come from the period."""


def panels() -> tuple[Panel, ...]:
    """Return the product's panels and the company's own.

    Raises:
        ConfigError: A panel of the company is wrong.
    """
    folder = get_settings().pages
    return (*read_folder(FOLDER), *(read_folder(folder.resolve()) if folder else ()))


def period(days: int, until: datetime) -> dict[str, datetime]:
    """Return the parameters of a period that ends at a moment, and the beginning of the one before."""
    span = timedelta(days=days)
    return {"since": until - span, "until": until, "since_before": until - 2 * span}


def _url() -> str:
    url = get_settings().reader_url
    if url is None:
        raise ConfigError(
            "no read-only role is configured", "WAREHOUSE_READER_URL", "start it by `warehouse dashboard`"
        )
    return url.get_secret_value()


@st.cache_data(ttl=_SECONDS, show_spinner=False, max_entries=500)
def answer(_panel: Panel, key: str, parameters: dict[str, Any]) -> Result:
    """Return a panel's answer; an unreachable warehouse is one, too.

    Args:
        _panel: The panel, which Streamlit is not to hash.
        key: Its page, name and query, which it hashes instead.
        parameters: What is asked for.
    """
    from tasks.database import connect

    try:
        with connect(_url(), autocommit=True, application="warehouse-dashboard") as connection:
            return run(connection, _panel, parameters)
    except WarehouseUnreachable as error:
        return Result(_panel, problem=f"The warehouse cannot be reached: {error.what}. {error.action}.")


@st.cache_data(ttl=_SECONDS, show_spinner=False, max_entries=100)
def choices(name: str, query: str, source: str | None) -> list[str]:
    """Return what a filter offers; nothing where it cannot be asked, which leaves the filter at "all"."""
    import psycopg

    from tasks.database import connect

    try:
        with connect(_url(), autocommit=True, application="warehouse-dashboard") as connection:
            rows = connection.execute(query.encode(), {"source": source}).fetchall()
    except (WarehouseUnreachable, psycopg.Error):
        return []
    return [str(row[0]) for row in rows if row[0] is not None]


def choice_query(name: str, shown: list[Panel]) -> str:
    """Return the query of a filter's choices: the page's own before the common one; empty for a filter of free text."""
    return next((panel.header.filters[name] for panel in shown if name in panel.header.filters), _CHOICES.get(name, ""))


def acknowledge(incident: int, who: str) -> bool:
    """Write down who has taken an incident; False when it is taken or over."""
    from tasks.database import connect

    with connect(_url(), autocommit=True, application="warehouse-dashboard") as connection, connection.transaction():
        connection.execute("set transaction read write")
        row = connection.execute("select monitoring.acknowledge(%s, %s)", [incident, who]).fetchone()
    return bool(row and row[0])
