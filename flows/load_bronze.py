"""Subflow load-bronze: the landed batches of a group of tables into bronze, one transaction per batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed
from prefect.task_runners import ThreadPoolTaskRunner

from flows import tables as work
from tasks.planning import Target
from tasks.settings import get_settings


@flow(name="load-bronze", flow_run_name="load-bronze {group}")
def load_bronze(tables: list[str] | None = None, group: str = "ad hoc", resources: str = "small") -> State[Any]:
    """Load every landed batch that is not loaded yet; one table's failure stops no other.

    Args:
        tables: `source.table` or `source`; none means every table.
        group: Name of the group, for people.
        resources: Resource class of this run: how many tables it loads at once.
    """
    names = work.expand(work.read_sources(get_settings()), tables)
    runner: ThreadPoolTaskRunner[Any] = ThreadPoolTaskRunner(max_workers=work.TABLES_AT_ONCE.get(resources, 1))
    with runner:
        failures = work.run_tables(lambda name: runner.submit(load_table, {"target": name}), names)
    message = work.summary(failures, len(names))
    return Failed(message=message) if failures else Completed(message=message)


@task(
    name="load-table",
    task_run_name="{target}",
    retries=work.RETRIES,
    retry_delay_seconds=work.RETRY_DELAYS,
    retry_jitter_factor=work.RETRY_JITTER,
    retry_condition_fn=work.retry_transient,
    cache_policy=NO_CACHE,
)
def load_table(target: str) -> None:
    """Load the pending batches of one table, oldest first."""
    work.measured("load", target, _load)


def _load(target: Target) -> Mapping[str, Any]:
    from tasks.bronze import load_pending

    settings = get_settings()
    ref = work.read_sources(settings).table(target.table)
    results = load_pending(ref, settings)
    if results:
        work.mirror_checkpoint(settings, ref)
    return work.total([result.metrics for result in results])
