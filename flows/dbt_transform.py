"""Subflow dbt-transform: silver and gold, only what the given tables feed."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from flows import plans, table_tasks
from flows.launch import DBT_LIMIT
from monitoring.hooks import RECORDED
from tasks.settings import get_settings

if TYPE_CHECKING:
    from tasks.dbt import DbtProcess, DbtResult, NodeResult
    from tasks.settings import Settings

_STATES = {"success": "Completed", "pass": "Completed", "warn": "Warned", "skipped": "Skipped"}


# A process that has imported dbt and parsed the project while data moved, for the next run in this one.
_warm: list[DbtProcess] = []


def warm_up(settings: Settings) -> None:
    """Have dbt start and parse in a process of its own, because models will probably have to be built soon."""
    from tasks import dbt

    if not _warm:
        _warm.append(dbt.start(settings))


def cool_down() -> None:
    """End a process that was started in vain."""
    while _warm:
        _warm.pop().close()


@flow(name="dbt-transform", flow_run_name="dbt-transform {group}", **RECORDED)
def dbt_transform(
    tables: list[str] | None = None, group: str = "ad hoc", full_refresh: bool = False, changed: bool = False
) -> State[Any]:
    """Build and test the models that the given tables feed; none means all models.

    Args:
        tables: `source.table` or `source`.
        group: Name of the run, for people.
        full_refresh: Rebuild incremental models from nothing.
        changed: Only what lacks changes of the tables, or was never built as it is now.
    """
    from monitoring import lineage
    from tasks import dbt
    from tasks.database import connect
    from tasks.ops import models_built
    from tasks.ops.migrations import migrate

    settings = get_settings()
    sources = table_tasks.read_sources(settings)
    refs = [sources.table(name) for name in plans.expand(sources, tables)]
    with connect(settings.database_url(), autocommit=True) as connection:
        migrate(connection)
        began = connection.execute("select clock_timestamp()").fetchone()
    process = _warm.pop() if _warm else dbt.start(settings)
    process.progress = get_run_logger().info
    with process, _only_dbt(settings.execution):
        wanted = dbt.Wanted(tuple(refs) if tables else None, changed)
        result = dbt.run(settings, wanted=wanted, process=process, full_refresh=full_refresh)
    with connect(settings.database_url(), autocommit=True) as connection:
        if (project := lineage.read(result.target / "manifest.json")) is not None:
            lineage.save(connection, project)
            for node in project.nodes:
                if node.problem:
                    get_run_logger().warning("%s: %s; the default holds", node.relation, node.problem)
    _publish(result)
    if not result.success:
        held = f"; kept as they were: {', '.join(result.held_back)}" if result.held_back else ""
        return Failed(message=result.failure() + held)
    with connect(settings.database_url(), autocommit=True) as connection:
        if began:
            models_built.write(connection.cursor(), [ref.key for ref in refs], began[0])
    counts = ", ".join(f"{count} {status}" for status, count in sorted(result.counts().items()))
    return Completed(message=f"dbt: {counts or 'nothing to build'}")


def _only_dbt(execution: str) -> AbstractContextManager[Any]:
    """Return a context in which no other dbt run of this Prefect server builds the same tables."""
    if execution == "in_process":
        return nullcontext()
    from prefect.concurrency.sync import concurrency

    # Strict: without the limit, which `warehouse deploy` makes, Prefect would only warn and let everyone in.
    return concurrency(DBT_LIMIT, occupy=1, strict=True)


def _publish(result: DbtResult) -> None:
    """Make the artifact with one row per node; a failing test names some of its rows."""
    from prefect.artifacts import create_table_artifact

    from monitoring import log

    rows = [log.json_safe(_row(node)) for node in result.nodes]
    if rows:
        create_table_artifact(table=rows, key="dbt-nodes", description="every model and test of this run")


def _row(node: NodeResult) -> dict[str, Any]:
    """Return a node as a row of the logging table: tests count failing rows as rejected."""
    from monitoring.masking import mask

    row: dict[str, Any] = {
        "stage": "dbt",
        "source": node.relation.partition(".")[0] or node.resource_type,
        "table_name": node.name,
        "state": _STATES.get(node.status, "Failed"),
        "started_at": node.started_at or datetime.now(UTC),
        "seconds": node.seconds,
        "rows_loaded": node.rows_affected,
        "rows_rejected": node.failures if node.resource_type in ("test", "unit_test") else None,
        "artifact_key": "dbt-nodes",
    }
    if node.failed:
        row["error_class"] = node.error_class
        details = [
            *((f"rows: {', '.join(map(mask, node.failing))}",) if node.failing else ()),
            *((f"owner: {node.owner}",) if node.owner else ()),
        ]
        reason, *rest = (node.message or node.status).splitlines()
        row["error_message"] = "\n".join((f"{reason} ({'; '.join(details)})" if details else reason, *rest))
    elif not node.published:
        row["error_message"] = "built, but not shown: a test or model of its group failed"
    return row
