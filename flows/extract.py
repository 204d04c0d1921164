"""Subflow extract: a group of tables (or `_id` ranges) from their sources to the landing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from prefect import flow, task
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed
from prefect.task_runners import ThreadPoolTaskRunner

from flows import plans
from flows import tables as work
from flows.blocks import BlockState
from monitoring.hooks import RECORDED
from tasks.planning import Target
from tasks.resources import tables_at_once
from tasks.settings import get_settings

if TYPE_CHECKING:
    from tasks.sources.connector import Shared


@flow(name="extract", flow_run_name="extract {group}", **RECORDED)
def extract(
    tables: list[str] | None = None, group: str = "ad hoc", resources: str = "small", full: bool = False
) -> State[Any]:
    """Land what is new in each table; one table's failure stops no other.

    Args:
        tables: `source.table`, `source.table#1/4@batch` or `source`; none means every table.
        group: Name of the group, for people.
        resources: Resource class of this run: how many tables it reads at once.
        full: Read everything again, whatever the checkpoint says.
    """
    sources = work.read_sources(get_settings())
    names = plans.expand(sources, tables)
    blocks = {} if full else work.known_blocks(sources, names)
    shared = {} if full else work.shared(get_settings(), sources, names, blocks)
    at_once = tables_at_once(resources)
    runner: ThreadPoolTaskRunner[Any] = ThreadPoolTaskRunner(max_workers=at_once)
    with runner:
        failures = work.run_tables(
            lambda name: runner.submit(
                extract_table,
                {
                    "target": name,
                    "at_once": at_once,
                    "full": full,
                    "block": blocks.get(name),
                    "shared": shared.get(name),
                },
            ),
            names,
        )
    message = work.summary(failures, len(names))
    return Failed(message=message) if failures else Completed(message=message)


@task(
    name="extract-table",
    task_run_name="{target}",
    **work.RETRYING,
)
def extract_table(
    target: str,
    at_once: int = 1,
    full: bool = False,
    block: BlockState | None = None,
    shared: Shared | None = None,
) -> None:
    """Land what is new in one table, or one range of it."""
    work.measured("extract", target, lambda parsed: _extract(parsed, at_once, full, block, shared))


def _extract(
    target: Target, at_once: int, full: bool, block: BlockState | None, shared: Shared | None
) -> Mapping[str, Any]:
    from prefect import get_run_logger

    from tasks.extract import extract_table as extract_from_source

    settings = get_settings()
    ref = work.read_sources(settings).table(target.table)
    if full or target.segment:
        # A range belongs to a batch that was planned with its own starting point.
        state: dict[str, Any] = {}
    else:
        state = shared.state(ref) if shared else work.start_state(settings, ref, block)
    context = work.extract_context(
        settings, at_once, state=state, segment=target.segment, batch_id=target.batch_id, shared=shared
    )
    result = extract_from_source(ref, context)
    for warning in result.warnings:
        get_run_logger().warning(warning)
    return result.metrics.row()
