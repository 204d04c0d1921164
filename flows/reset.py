"""Flow reset: a table's source is read again, what is read takes the place of its rows, and the models above follow."""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Failed

from flows import table_tasks
from monitoring.hooks import RECORDED
from tasks.settings import get_settings


@flow(name="reset", flow_run_name="reset {table}", **RECORDED)
def reset(table: str, since: str | None = None, models: bool = True, by: str = "", why: str = "") -> State[Any]:
    """Read one table again; its rows stay readable until those that were read take their place.

    A run that was killed goes on when it is started again with the same table and time, or with the next pipeline run.

    Args:
        table: The table, as `source.table`.
        since: Read from this time on (ISO 8601) and change only what is read; empty reads everything anew.
        models: Whether to rebuild the dbt models above the table.
        by: Who asks for it, for the log.
        why: The reason, for the log.
    """
    from flows.pipeline import pipeline
    from tasks.bronze.reset import begin_reset, is_complete

    settings = get_settings()
    ref = table_tasks.read_sources(settings).table(table)
    begun = begin_reset(ref, settings, since or None, asked_by=by, why=why)
    # The later wish wins: one that stands in the block would end this one.
    table_tasks.mirror_checkpoint(settings, ref, over_wish=not begun.resumed)
    goes = "goes on" if begun.resumed else "begins"
    get_run_logger().info(
        "%s: the reset %s, asked for by %s (%s); %d row(s) stay readable, reading from %s",
        table, goes, by or "nobody named", why or "no reason given", begun.live, since or "the beginning",
    )  # fmt: skip
    # An extraction that was under way may come first: its batch was read before, and another one is needed.
    for _ in range(2):
        result: State[Any] = pipeline(tables=[table], models=models, return_state=True)
        if not result.is_completed() or is_complete(ref, settings):
            return result
    return Failed(message=f"{table}: nothing was read from where the reset began; its rows are the old ones, run again")
