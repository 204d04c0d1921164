"""Subflow load-bronze: the landed batches of a group of tables into bronze, one transaction per batch."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from prefect import flow, get_run_logger, task
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed
from prefect.task_runners import ThreadPoolTaskRunner

from flows import plans, table_tasks
from flows.launch import extraction
from monitoring.hooks import RECORDED
from tasks.planning import Target
from tasks.resources import tables_at_once
from tasks.settings import Settings, get_settings

if TYPE_CHECKING:
    from tasks.bronze.outcome import LoadMetrics, LoadResult
    from tasks.sources import TableRef


@flow(name="load-bronze", flow_run_name="load-bronze {group}", **RECORDED)
def load_bronze(
    tables: list[str] | None = None, group: str = "ad hoc", resources: str = "small", ahead: bool = False
) -> State[Any]:
    """Load every landed batch that is not loaded yet; one table's failure stops no other.

    Args:
        tables: `source.table` or `source`; none means every table.
        group: Name of the group, for people.
        resources: Resource class of this run: how many tables it loads at once.
        ahead: The group is being extracted: load each table as soon as its extract has ended, a first batch while it
            grows.
    """
    names = plans.expand(table_tasks.read_sources(get_settings()), tables)
    runner: ThreadPoolTaskRunner[Any] = ThreadPoolTaskRunner(max_workers=tables_at_once(resources))
    with runner:
        failures = table_tasks.run_tables(
            lambda name: runner.submit(load_table, {"target": name, "ahead_of": group if ahead else None}), names
        )
    message = table_tasks.summary(failures, len(names))
    return Failed(message=message) if failures else Completed(message=message)


@task(
    name="load-table",
    task_run_name="{target}",
    **table_tasks.RETRYING,
)
def load_table(target: str, ahead_of: str | None = None) -> None:
    """Load the pending batches of one table, oldest first.

    Args:
        target: Name of the table.
        ahead_of: Name of the group that is extracting the table now.
    """
    grows = ahead_of is not None and not table_tasks.was_landed(target)
    if ahead_of is not None and not grows:
        # Before the clock starts: a table's figures are those of its own work.
        extraction.wait_for(target, ahead_of)
    table_tasks.measured("load", target, lambda parsed: _load(parsed, ahead_of, grows))


def _load(target: Target, ahead_of: str | None, grows: bool) -> LoadMetrics | None:
    from tasks.bronze.outcome import LoadMetrics
    from tasks.bronze.pending import load_pending

    settings = get_settings()
    ref = table_tasks.read_sources(settings).table(target.table)
    results = load_pending(ref, settings) if ahead_of is None else _load_ahead(ref, settings, ahead_of, grows)
    for warning in (warning for result in results for warning in result.warnings):
        get_run_logger().warning("%s: %s", ref.name, warning)
    if not results:
        return None
    table_tasks.mirror_checkpoint(settings, ref)
    return LoadMetrics.of(results)


def _load_ahead(ref: TableRef, settings: Settings, group: str, grows: bool) -> list[LoadResult]:
    """Load a table that its group is extracting: what is whole, or else its first batch while it grows.

    Only an attempt to be early: what it could not do the load that follows does, and says what is wrong.
    """
    import psycopg

    from tasks.bronze.pending import Deferred, load_ahead, load_pending
    from tasks.errors import WarehouseError

    try:
        if not grows:
            return load_pending(ref, settings)
        result = load_ahead(ref, settings, partial(table_tasks.is_over, group))
        if not isinstance(result, Deferred):
            return [result]
        get_run_logger().info("%s was not loaded ahead: %s", ref.name, result.reason)
        return load_pending(ref, settings)
    except (WarehouseError, psycopg.Error) as error:
        get_run_logger().info("%s was not loaded ahead: %s", ref.name, table_tasks.say(error))
        return []
