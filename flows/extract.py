"""Subflow extract: a group of tables (or `_id` ranges) from their sources to the landing."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

from prefect import flow, task
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed
from prefect.task_runners import ThreadPoolTaskRunner

from flows import plans, table_tasks
from flows.blocks import BlockState
from flows.launch import extraction
from monitoring.hooks import RECORDED
from tasks.errors import MissingCollection, WarehouseError
from tasks.planning import Target
from tasks.resources import tables_at_once
from tasks.settings import Settings, get_settings

if TYPE_CHECKING:
    from tasks.extract import ExtractMetrics
    from tasks.sources import TableRef
    from tasks.sources.connector import Shared
    from tasks.sources.window import Window


@flow(name="extract", flow_run_name="extract {group}", **RECORDED)
def extract(
    tables: list[str] | None = None,
    group: str = "ad hoc",
    resources: str = "small",
    full: bool = False,
    from_day: date | None = None,
    to_day: date | None = None,
) -> State[Any]:
    """Land what is new in each table; one table's failure stops no other.

    Args:
        tables: `source.table`, `source.table#1/4@batch` or `source`; none means every table.
        group: Name of the group, for people.
        resources: Resource class of this run: how many tables it reads at once.
        full: Read everything again, whatever the checkpoint says.
        from_day: Read only these days again, with `to_day`, and leave the daily run's checkpoint as it is.
        to_day: The last of them.
    """
    sources = table_tasks.read_sources(get_settings())
    names = plans.expand(sources, tables)
    window = plans.window(sources, names, plans.How(full, from_day, to_day))
    waits = table_tasks.Waits(get_settings())
    blocks = {} if full or window else table_tasks.known_blocks(sources, names)
    shared = {} if full or window else table_tasks.shared(get_settings(), sources, names, blocks)
    at_once = tables_at_once(resources)
    runner: ThreadPoolTaskRunner[Any] = ThreadPoolTaskRunner(max_workers=at_once)
    with runner:
        failures = table_tasks.run_tables(
            lambda name: runner.submit(
                extract_table,
                {
                    "target": name,
                    "at_once": at_once,
                    "full": full,
                    "window": window,
                    "waits": waits,
                    "block": blocks.get(name),
                    "shared": shared.get(name),
                },
            ),
            names,
        )
    message = table_tasks.summary(failures, len(names))
    return Failed(message=message) if failures else Completed(message=message)


@task(
    name="extract-table",
    task_run_name="{target}",
    **table_tasks.RETRYING,
)
def extract_table(
    target: str,
    waits: table_tasks.Waits,
    at_once: int = 1,
    full: bool = False,
    window: Window | None = None,
    block: BlockState | None = None,
    shared: Shared | None = None,
) -> None:
    """Land what is new in one table, or one range of it, or some days of it again."""
    try:
        table_tasks.measured(
            "extract", target, lambda parsed: _extract(parsed, at_once, full, window, waits, block, shared)
        )
    finally:
        extraction.end_table(target)


def _gone(settings: Settings, ref: TableRef, error: MissingCollection) -> MissingCollection:
    """Note in the ledger of drift that a loaded table's source is gone; return the error, with the likely new name.

    A warehouse that is away must not hide that.
    """
    from contextlib import suppress

    from psycopg import Error

    from flows.views import opened
    from tasks.drift import origin

    with suppress(WarehouseError, Error), opened(settings.database_url()) as connection:
        moved = origin.successor(connection, ref)
        origin.note_gone(connection, ref.key, {"said": error.what, "advice": error.action}, moved)
        if moved is not None:
            what = f"{error.what}; it was probably renamed to {moved.name!r}: {moved.why}"
            return MissingCollection(what, error.where, origin.remedy(ref, moved))
    return error


def _extract(
    target: Target,
    at_once: int,
    full: bool,
    window: Window | None,
    waits: table_tasks.Waits,
    block: BlockState | None,
    shared: Shared | None,
) -> ExtractMetrics:
    from prefect import get_run_logger

    from tasks.extract import extract_table as extract_from_source

    settings = get_settings()
    ref = table_tasks.read_sources(settings).table(target.table)
    again: dict[str, Any] = table_tasks.days_again(settings, ref, window) if window else {}
    if full or target.segment:
        # A range belongs to a batch that was planned with its own starting point.
        state: dict[str, Any] = {}
    else:
        state = shared.state(ref) if shared else table_tasks.start_state(settings, ref, block)
    context = table_tasks.extract_context(
        settings, at_once, state=state, segment=target.segment, batch_id=target.batch_id, shared=shared, **again
    )
    try:
        with waits.respected(ref):
            result = extract_from_source(ref, context)
    except MissingCollection as error:
        raise _gone(settings, ref, error) from None
    for warning in result.warnings:
        get_run_logger().warning(warning)
    return result.metrics
