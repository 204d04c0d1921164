"""Whether Prefect knows of runs what the log does not, asked without Prefect's client: it takes a second to import."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from monitoring import history, log
from tasks.paging import pages

if TYPE_CHECKING:
    import psycopg

_SECONDS = 10.0


def any_runs(connection: psycopg.Connection[Any], api_url: str) -> bool:
    """Return whether a look might write anything: it is left out only where it certainly would not.

    A server that wants a login, or that does not answer, is one for the look.

    Args:
        connection: A connection to the warehouse.
        api_url: Prefect's API; empty where it is not known here, as when a profile names it.
    """
    if not api_url or log.open_runs(connection, history.OPEN):
        return True
    try:
        runs = _recent(api_url.rstrip("/"))
    except (OSError, ValueError):
        return True
    own = history.warehouse_tag(connection)
    known = log.states(connection, [run["id"] for run in runs])
    return not all(_is_told(run, own, known.get(run["id"])) for run in runs)


def _is_told(run: Mapping[str, Any], own: str, known: tuple[Any, ...] | None) -> bool:
    """Return whether the log holds how a run ended, or another warehouse's does."""
    tags = history.warehouse_tags(run["tags"])
    return (bool(tags) and own not in tags) or (known or ())[:2] == (run["state_name"], run["run_count"])


def _recent(api_url: str) -> Sequence[dict[str, Any]]:
    """Return the product's runs that a look would see, as the API tells of them."""
    now = datetime.now(UTC)
    due = {"after_": (now - history.LOOK_BACK).isoformat(), "before_": now.isoformat()}
    wanted = {
        "flows": {"name": {"any_": list(history.STAGES)}},
        "flow_runs": {"expected_start_time": due},
        "sort": "EXPECTED_START_TIME_ASC",
    }
    return list(pages(lambda limit, offset: _ask(api_url, {**wanted, "limit": limit, "offset": offset})))


def _ask(api_url: str, wanted: Mapping[str, Any]) -> list[dict[str, Any]]:
    request = urllib.request.Request(  # noqa: S310 - the address is the user's own
        f"{api_url}/flow_runs/filter", json.dumps(wanted).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=_SECONDS) as answer:  # noqa: S310 - as above
        found: list[dict[str, Any]] = json.load(answer)
    return found
