"""Flow reset: a table's bronze is emptied, its source read again, and the models above it rebuilt."""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State

from flows import tables as work
from monitoring.hooks import RECORDED
from tasks.settings import get_settings


@flow(name="reset", flow_run_name="reset {table}", **RECORDED)
def reset(table: str, since: str | None = None, models: bool = True) -> State[Any]:
    """Read one table again.

    Args:
        table: `source.table`.
        since: Incremental tables with a date cursor: read from this time on (ISO 8601) instead of from the beginning.
        models: Whether to rebuild the dbt models above it.
    """
    from flows.pipeline import pipeline
    from tasks.bronze.reset import reset_table

    settings = get_settings()
    ref = work.read_sources(settings).table(table)
    state = ref.connector.state_since(ref, since) if since else {}
    live = reset_table(ref, settings, state, ref.connector.mode(ref))
    work.mirror_checkpoint(settings, ref)
    get_run_logger().info("%s: %d live row(s) set aside, reading from %s", table, live, since or "the beginning")
    result: State[Any] = pipeline(tables=[table], models=models, return_state=True)
    return result
