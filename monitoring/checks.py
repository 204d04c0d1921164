"""What every monitoring run looks at, one check after another; each writes a table of the schema `monitoring`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from monitoring import freshness, incidents, lineage, measures, reconciliation, retention, source_freshness
from tasks.errors import WarehouseError

if TYPE_CHECKING:
    import psycopg

    from tasks.settings import Settings
    from tasks.sources import Sources


def check_freshness(connection: psycopg.Connection[Any], settings: Settings, now: datetime) -> None:
    """Judge each table and mart."""
    sources = _sources(settings)
    freshness.check(connection, [ref.name for ref in sources.refs()], promises_of(sources), now)


def check_source_freshness(connection: psycopg.Connection[Any], settings: Settings, now: datetime) -> None:
    """Ask how old the sources of the dbt project are, by its own rules."""
    source_freshness.check(connection, now)


def check_measures(connection: psycopg.Connection[Any], settings: Settings, now: datetime) -> None:
    """Write daily figures and find the odd ones."""
    measures.check(connection, now)


def check_reconciliation(connection: psycopg.Connection[Any], settings: Settings, now: datetime) -> None:
    """Compare source, bronze and gold, once a day and after each load."""
    refs = list(_sources(settings).refs())
    reconciliation.check(connection, [ref.name for ref in refs], now)
    reconciliation.check_sources(connection, refs, now)


def check_incidents(connection: psycopg.Connection[Any], settings: Settings, now: datetime) -> None:
    """Open and resolve incidents, and tell people.

    Raises:
        AlertError: A channel did not take what it was to tell.
    """
    from monitoring import alerts, history

    incidents.record(connection, incidents.problems(connection), now)
    with history.prefect_client() as client:
        failed = alerts.tell(connection, client, policy_of(settings), now)
    if failed:
        raise AlertError(f"could not tell people: {', '.join(failed)}", "notification blocks", "see docs/alerts.md")


def check_retention(connection: psycopg.Connection[Any], settings: Settings, now: datetime) -> None:
    """Remove what is old."""
    retention.apply(connection, now)


def send_heartbeat(connection: psycopg.Connection[Any], settings: Settings, now: datetime) -> None:
    """Tell a dead man's switch outside that monitoring lives, where one is configured."""
    if settings.heartbeat_url is not None:
        import httpx

        httpx.get(settings.heartbeat_url.get_secret_value(), timeout=10).raise_for_status()


CHECKS: dict[str, Callable[[Any, Settings, datetime], None]] = {
    "freshness": check_freshness,
    "source freshness": check_source_freshness,
    "measures": check_measures,
    "reconciliation": check_reconciliation,
    "incidents": check_incidents,
    "retention": check_retention,
    "heartbeat": send_heartbeat,
}
"""Every check by name, in order: later ones read what earlier ones wrote."""


class AlertError(WarehouseError):
    """People could not be told."""


def policy_of(settings: Settings) -> incidents.Policy:
    """Return when people are told, as the settings say."""
    begin, _, end = (settings.alert_quiet_hours or "").partition("-")
    return incidents.Policy(
        time.fromisoformat(begin) if begin else None,
        time.fromisoformat(end) if end else None,
        settings.alert_timezone,
        timedelta(minutes=settings.alert_escalate_minutes),
    )


def promises_of(sources: Sources) -> freshness.Promises:
    """Return what sources.yaml promises: `freshness` of a table, else the default."""
    said = {ref.name: ref.table.freshness for ref in sources.refs()}
    return freshness.Promises(
        {name: timedelta(seconds=lineage.seconds_of(span)) for name, span in said.items() if span}
    )


def _sources(settings: Settings) -> Sources:
    from tasks.sources import load_sources

    return load_sources(settings.sources)
