"""Flow verify: proves that bronze equals its sources, by sample daily and as a whole weekly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from flows import plans, table_tasks
from flows.extract import extract_table
from flows.load_bronze import load_table
from monitoring.hooks import RECORDED
from tasks.settings import get_settings

if TYPE_CHECKING:
    from tasks.bronze.verify import Verified


@flow(name="verify", flow_run_name="verify {tables}", **RECORDED)
def verify(tables: list[str] | None = None, sample: int | None = None) -> State[Any]:
    """Compare tables with their sources, one after another.

    Args:
        tables: `source.table` or `source`; none means every table.
        sample: Compare so many documents of each table, taken at random; none means all.

    Returns:
        Failed, naming every table that differs or could not be compared.
    """
    names = plans.expand(table_tasks.read_sources(get_settings()), tables)
    problems = []
    for name in names:
        state: State[Any] = verify_table.with_options(task_run_name=name)(name, sample, return_state=True)
        if not state.is_completed():
            problems.append(f"{name}: {state.message}")
    return Failed(message="; ".join(problems)) if problems else Completed(message=f"{len(names)} table(s) equal")


@task(
    name="verify-table",
    **table_tasks.RETRYING,
)
def verify_table(name: str, sample: int | None) -> State[Any]:
    """Compare one table and make an artifact of what differs.

    A source that is written to goes on after the last run. So what differs is brought up to date first, and only what
    differs then is a finding.
    """
    found = _compare(name, sample)
    if not found.equal:
        get_run_logger().info("%s: %d document(s) differ; compared again after an update", name, found.differing)
        extract_table(name, table_tasks.Waits(get_settings()))
        load_table(name)
        found = _compare(name, sample)
    if found.equal:
        return Completed(message=f"{found.source_rows} document(s) equal")
    if found.missing:
        return Failed(message="; ".join(found.missing))
    rows = [{"_id": one.id, "why": one.why} for one in found.differences]
    key = f"verify-{name}".replace(".", "-").replace("_", "-")
    create_table_artifact(rows, key=key, description=f"{name}: documents that differ")
    return Failed(message=f"{found.differing} document(s) differ, such as {rows[0] if rows else 'none named'}")


def _compare(name: str, sample: int | None) -> Verified:
    from tasks.bronze import verify as bronze

    settings = get_settings()
    ref = table_tasks.read_sources(settings).table(name)
    found = bronze.verify_sample(ref, settings, sample) if sample else bronze.verify_table(ref, settings)
    get_run_logger().info("%s: %d at the source, %d in bronze", name, found.source_rows, found.bronze_rows)
    get_run_logger().info("%s: %s", name, found.note)
    return found
