"""Flow maintenance: removes landed batches that are loaded, old, and not needed for a rebuild."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from flows import plans, table_tasks
from monitoring.hooks import RECORDED
from tasks.settings import get_settings


@flow(name="maintenance", flow_run_name="maintenance", **RECORDED)
def maintenance(tables: list[str] | None = None, keep_days: int = 30) -> State[Any]:
    """Clean the landing of each table; one table's failure stops no other.

    Args:
        tables: `source.table` or `source`; none means every table.
        keep_days: Nothing younger is removed.
    """
    names = plans.expand(table_tasks.read_sources(get_settings()), tables)
    problems = []
    for name in names:
        state: State[Any] = retain.with_options(task_run_name=name)(name, keep_days, return_state=True)
        if not state.is_completed():
            problems.append(f"{name}: {state.message}")
    return Failed(message="; ".join(problems)) if problems else Completed(message=f"{len(names)} table(s) done")


@task(
    name="retain",
    **table_tasks.RETRYING,
)
def retain(name: str, keep_days: int) -> None:
    """Clean the landing of one table."""
    from tasks.bronze import maintenance as bronze

    settings = get_settings()
    ref = table_tasks.read_sources(settings).table(name)
    done = bronze.retain(ref, settings, timedelta(days=keep_days))
    get_run_logger().info(
        "%s: %d batch(es) removed (%d bytes), %d unfinished ones, %d kept",
        name,
        len(done.removed),
        done.bytes,
        len(done.abandoned),
        done.kept,
    )
