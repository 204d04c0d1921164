"""What every flow of the product does at its start and end: it writes its row of the logging table.

A run that is killed has its start row; how it ended is written by the next look (`monitoring.history`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from prefect.logging import get_logger

if TYPE_CHECKING:
    import psycopg
    from prefect import Flow
    from prefect.client.schemas.objects import FlowRun, State

# A warehouse that did not answer is not waited for again by each flow run of the process.
_PATIENCE_SECONDS = 60.0
_unreachable: dict[str, float] = {}


def started(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Write a run's start row, and say at Prefect which warehouse's run it is."""
    from monitoring import history, log

    row = {
        "flow_run_id": flow_run.id,
        "parent_run_id": _parent(flow_run, flow.name),
        "flow_name": flow.name,
        "stage": history.STAGES.get(flow.name, flow.name),
        "state": state.name,
        "started_at": flow_run.start_time or state.timestamp,
        "expected_at": flow_run.expected_start_time,
        "attempt": max(flow_run.run_count, 1),
        "process": history.this_process(),
    }

    def write(connection: psycopg.Connection[Any]) -> None:
        log.write(connection, [row])
        with history.prefect_client() as client:
            history.mark(client, connection, flow_run)

    _recorded(write)


def ended(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Write a run's end: alone with its tables, a pipeline's own; of its steps the step `monitoring` writes all."""
    if flow.name not in ("pipeline", "monitoring") and _parent(flow_run, flow.name) is not None:
        return

    from monitoring import history, log

    def rows() -> list[dict[str, Any]]:
        from datetime import UTC, datetime

        with history.prefect_client() as client:
            if flow.name not in ("pipeline", "monitoring"):
                return history.collect(client, str(flow_run.id), None)
            run = client.read_flow_run(flow_run.id)
            return [
                {
                    **history.run_row(run, flow.name, datetime.now(UTC)),
                    "parent_run_id": _parent(flow_run, flow.name),
                }
            ]

    _recorded(lambda connection: log.write(connection, rows()))


RECORDED: dict[str, Any] = {
    "on_running": [started],
    "on_completion": [ended],
    "on_failure": [ended],
    "on_crashed": [ended],
    "on_cancellation": [ended],
}
"""What every flow is declared with."""


def _parent(run: FlowRun, flow_name: str) -> str | None:
    if flow_name == "pipeline":
        return None
    return next((tag.removeprefix("parent:") for tag in run.tags if tag.startswith("parent:")), None)


def _recorded(write: Callable[[psycopg.Connection[Any]], object]) -> None:
    """Write into the log; no failure of the log may be one of the run that it tells of."""
    from tasks.database import connect
    from tasks.errors import WarehouseUnreachable, redact
    from tasks.ops.migrations import migrate
    from tasks.settings import get_settings

    url = ""
    try:
        url = get_settings().database_url()
        if time.monotonic() < _unreachable.get(url, 0.0):
            return
        with connect(url, autocommit=True) as connection:
            migrate(connection)
            write(connection)
    except Exception as error:
        if isinstance(error, WarehouseUnreachable):
            _unreachable[url] = time.monotonic() + _PATIENCE_SECONDS
        get_logger("warehouse.log").log(logging.DEBUG, "the run's row was not written: %s", redact(str(error)))
