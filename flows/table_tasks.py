"""What every table task has: its own retries, failure, stop signal and one artifact with its figures."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect.cache_policies import NO_CACHE

from flows.launch import extraction, stopping
from monitoring import log, taxonomy
from tasks import resources
from tasks.errors import TRANSIENT, QuotaExhausted, WarehouseError, redact
from tasks.planning import Target, parse_target

if TYPE_CHECKING:
    from prefect import Task
    from prefect.client.schemas.objects import State, TaskRun
    from prefect.futures import PrefectFuture

    from flows.blocks import BlockState
    from tasks.extract import ExtractContext
    from tasks.settings import Settings
    from tasks.sources import Sources, TableRef
    from tasks.sources.connector import Shared
    from tasks.sources.window import Window
    from tasks.table_metrics import TableMetrics

RETRIES = 2
# Short, then longer: a dropped connection is cured at once, a failover of a replica set within half a minute.
RETRY_DELAYS = [2.0, 15.0]
RETRY_JITTER = 0.5


class StoppedError(BaseException):
    """The process is ending; a BaseException, so that nothing on the way takes it for the table's own failure."""


@dataclass(frozen=True)
class TableFailure:
    """A table that failed in a group.

    Attributes:
        target: Name of the table or range.
        message: First line of the error.
    """

    target: str
    message: str


def retry_transient(task: Task[..., Any], task_run: TaskRun, state: State[Any]) -> bool:
    """Return whether another attempt may help; Prefect takes a plain function only, anything else never retries."""
    return is_transient(state.data)


RETRYING: dict[str, Any] = {
    "retries": RETRIES,
    "retry_delay_seconds": RETRY_DELAYS,
    "retry_jitter_factor": RETRY_JITTER,
    "retry_condition_fn": retry_transient,
    "cache_policy": NO_CACHE,
}
"""What every task on a table is declared with: tried again where that may help, and never skipped by a cache."""


def is_transient(error: object) -> bool:
    """Return whether an error may go away by itself: neither configuration nor rights nor data."""
    return isinstance(error, TRANSIENT) and taxonomy.classify_error(error) in (
        "network",
        "resource",
        "out_of_memory",
        "evicted",
    )


def check_stopping(rows: int = 0) -> None:
    """Raise when the process is ending; called between batches of rows."""
    if stopping.is_set():
        raise StoppedError("the run was stopped")


def is_over(group: str) -> bool:
    """Return whether waiting for a group's extraction is in vain, because it has ended."""
    check_stopping()
    return extraction.is_over(group)


def was_landed(name: str) -> bool:
    """Return whether a batch of a table was ever landed and is still there."""
    from tasks.landing import Landing
    from tasks.settings import get_settings

    settings = get_settings()
    return bool(Landing.open(settings.landing_root()).batches(*read_sources(settings).table(name).key))


def measured(stage: str, name: str, work: Callable[[Target], TableMetrics | None]) -> None:
    """Do a table's work and publish its figures as the one artifact of the task run.

    Args:
        stage: `extract` or `load`.
        name: Name of the target.
        work: Does it and returns its figures; None where there was nothing to do.

    Raises:
        Exception: Whatever the work raised; its last attempt leaves an artifact too.
    """
    check_stopping()
    target = parse_target(name)
    started, clock, cpu = datetime.now(UTC), time.monotonic(), resources.usage().cpu_seconds
    row: dict[str, Any] = {"stage": stage, "state": "Completed"}
    try:
        done = work(target)
    except Exception as error:
        done = error.done if isinstance(error, WarehouseError) else None
        row.update(state="Failed", error_class=taxonomy.classify_error(error), error_message=say(error))
        if not (is_transient(error) and _attempt() <= RETRIES):
            _publish(target, row, done, started, time.monotonic() - clock, cpu)
        raise
    _publish(target, row, done, started, time.monotonic() - clock, cpu)


def say(error: BaseException) -> str:
    """Return an error's type and text, without secrets."""
    return redact(f"{type(error).__name__}: {error}")


def read_sources(settings: Settings) -> Sources:
    """Return sources.yaml, parsed once for each version of the file."""
    try:
        changed = settings.sources.stat().st_mtime_ns
    except OSError:
        changed = 0
    return _read_sources(settings.sources, changed)


@lru_cache(maxsize=2)
def _read_sources(path: Path, changed: int) -> Sources:
    from tasks.sources import load_sources

    return load_sources(path)


def run_tables(submit: Callable[[str], PrefectFuture[Any]], names: Sequence[str]) -> list[TableFailure]:
    """Run one task per name, all to their end, and return those that failed."""
    from prefect.context import TagsContext

    # A step's tags name its run. On a task each would be asked for as the name of a concurrency limit.
    with TagsContext(current_tags=set()):
        futures = {name: submit(name) for name in names}
    failures = []
    try:
        for name, future in futures.items():
            future.wait()
            if not future.state.is_completed():
                failures.append(TableFailure(name, _reason(future.state)))
    except BaseException:
        # The process is ending (eviction, Ctrl-C): its threads cannot be interrupted, they look at this.
        stopping.set()
        raise
    return failures


def summary(failures: Sequence[TableFailure], total: int) -> str:
    """Return the message of the group's final state: the first error line of each failed table."""
    if not failures:
        return f"{total} table(s) done"
    reasons = "; ".join(f"{failure.target}: {failure.message}" for failure in failures)
    return f"{len(failures)} of {total} table(s) failed: {reasons}"


def memory_share(settings: Settings, at_once: int) -> int:
    """Return the memory in bytes that one of several tables worked on at once may use."""
    from flows.launch import InProcess

    side_by_side = InProcess.parallel if settings.execution == "in_process" else 1
    # Python, Prefect and the driver need about this much before the first row.
    working = max(settings.memory_budget() - (256 << 20), 64 << 20)
    return max(working // (at_once * side_by_side), 16 << 20)


def extract_context(settings: Settings, at_once: int = 1, **fields: Any) -> ExtractContext:
    """Return the context that extraction is given in this process."""
    from prefect.runtime import flow_run

    from tasks.extract import ExtractContext
    from tasks.landing import Landing

    return ExtractContext(
        landing=Landing.open(settings.landing_root()),
        memory_bytes=memory_share(settings, at_once),
        flow_run_id=flow_run.id,
        progress=check_stopping,
        **fields,
    )


def start_state(settings: Settings, ref: TableRef, block: BlockState | None = None) -> dict[str, Any]:
    """Return the state that extraction starts from, after row and block of the checkpoint were reconciled.

    Where the table's mode or cursor was changed since, that is the beginning.

    Args:
        settings: Where the warehouse is.
        ref: The table.
        block: What its block said a moment ago; None means that it has to be looked up.
    """
    from tasks import checkpoint_block, checkpoints
    from tasks.database import connect
    from tasks.ops.migrations import migrate

    view = checkpoint_block.load(*ref.key) if block is None else (block if block.exists else None)
    with connect(settings.database_url(), autocommit=True) as connection:
        migrate(connection)
        found = checkpoints.reconcile(connection, *ref.key, view, mode=ref.connector.mode(ref))
    if found.block_behind and block is not None and not found.rewound:
        # The block will be written anew: somebody's wish may stand in it since it was looked up.
        return start_state(settings, ref)
    if found.block_behind:
        checkpoint_block.save(*ref.key, found.checkpoint)
    return ref.connector.usable_state(ref, found.checkpoint.state if found.checkpoint else {})


class Waits:
    """Until when each source gives nothing, as its quota is used up; kept for all later runs, of whatever process.

    Args:
        settings: Where the warehouse is.
    """

    def __init__(self, settings: Settings) -> None:
        from tasks.database import connect
        from tasks.ops import waits
        from tasks.ops.migrations import migrate

        self._url = settings.database_url()
        with connect(self._url, autocommit=True) as connection:
            migrate(connection)
            self._until = waits.read(connection)

    @contextmanager
    def respected(self, ref: TableRef) -> Iterator[None]:
        """Ask a source nothing before the time that it gave, and keep the time that it gives now.

        Raises:
            QuotaExhausted: The source gives nothing yet, or no more.
        """
        from tasks.database import connect
        from tasks.ops import waits

        until = self._until.get(ref.source_name)
        if until is not None and until > datetime.now(UTC):
            raise QuotaExhausted("the quota was used up before, and nothing was asked", ref.name, until)
        try:
            yield
        except QuotaExhausted as error:
            self._until[ref.source_name] = error.until
            with connect(self._url, autocommit=True) as connection:
                waits.write(connection, ref.source_name, error.until, error.what)
            raise


def days_again(settings: Settings, ref: TableRef, window: Window) -> dict[str, Any]:
    """Return what extraction is told of days that are read again.

    What an interrupted run of these days has landed is loaded first: how far it came stands in the checkpoint then, and
    no quota is spent on it twice.
    """
    from tasks.bronze.pending import load_pending
    from tasks.database import connect
    from tasks.ops import pulls

    load_pending(ref, settings)
    with connect(settings.database_url(), autocommit=True) as connection:
        held = pulls.rows_held(connection, ref.key, window.first, window.last)
    return {"window": window, "held": held}


def shared(
    settings: Settings, sources: Sources, names: Sequence[str], blocks: Mapping[str, BlockState]
) -> dict[str, Shared]:
    """Return by table what it shares with others of its source in this run, such as a change stream."""
    whole = [sources.table(target.table) for target in map(parse_target, names) if not target.segment]
    found: dict[str, Shared] = {}
    for refs in _by_source(whole).values():
        found |= refs[0].connector.share(refs, lambda ref: start_state(settings, ref, blocks.get(ref.name)))
    return found


def _by_source(refs: Sequence[TableRef]) -> dict[str, list[TableRef]]:
    grouped: dict[str, list[TableRef]] = {}
    for ref in refs:
        grouped.setdefault(ref.source_name, []).append(ref)
    return grouped


def known_blocks(sources: Sources, names: Sequence[str]) -> dict[str, BlockState]:
    """Return what the checkpoint blocks of targets say, `NO_BLOCK` where there is none."""
    from flows import blocks
    from tasks.checkpoint_block import block_name

    found = blocks.read_all()
    refs = {name: sources.table(parse_target(name).table) for name in names}
    return {name: found.get(block_name(ref.source_name, ref.table_name), blocks.NO_BLOCK) for name, ref in refs.items()}


def mirror_checkpoint(settings: Settings, ref: TableRef, *, over_wish: bool = False) -> None:
    """Show people the checkpoint that has just been committed; with `over_wish` even where they asked for a rewind.

    The rows are safe whether or not this works, and the next extract mends it, so a failure is only logged.
    """
    from prefect import get_run_logger

    from tasks import checkpoint_block
    from tasks.database import connect
    from tasks.ops import checkpoints

    try:
        with connect(settings.database_url(), autocommit=True) as connection:
            current = checkpoints.read(connection, ref.key)
        block = checkpoint_block.load(ref.source_name, ref.table_name)
        if over_wish or block is None or block.rewind_to is None:
            checkpoint_block.save(ref.source_name, ref.table_name, current)
    except Exception as error:
        get_run_logger().warning("the checkpoint block of %s could not be written: %s", ref.name, say(error))


def _reason(state: State[Any]) -> str:
    try:
        error: object = state.result(raise_on_failure=False)
    except Exception:
        # A crash leaves no exception to read; its message is all there is.
        error = None
    text = say(error) if isinstance(error, BaseException) else (state.message or state.name or "no reason given")
    return taxonomy.first_line(redact(text))


def _attempt() -> int:
    from prefect.runtime import task_run

    return int(task_run.run_count or 1)


def _publish(
    target: Target,
    row: Mapping[str, Any],
    done: TableMetrics | None,
    started: datetime,
    seconds: float,
    cpu: float,
) -> None:
    """Make the artifact. Its loss must not fail a table whose rows are committed, so it is only logged."""
    from prefect import get_run_logger
    from prefect.artifacts import create_table_artifact
    from prefect.runtime import flow_run

    source, _, table = target.table.partition(".")
    key = artifact_key(row["stage"], target)
    used = resources.usage()
    full = {
        "source": source,
        "table_name": table,
        "flow_run_id": flow_run.id,
        "flow_name": flow_run.flow_name,
        "started_at": started,
        "ended_at": datetime.now(UTC),
        "attempt": _attempt(),
        "pod": resources.pod_name(),
        "peak_memory_bytes": used.peak_memory_bytes,
        "cpu_seconds": round(used.cpu_seconds - cpu, 3),
        "artifact_key": key,
        **row,
        **(done.row() if done else {}),
        "seconds": round(seconds, 3),
    }
    try:
        create_table_artifact(table=[log.json_safe(full)], key=key, description=f"{row['stage']} of {target}")
    except Exception as error:
        get_run_logger().warning("the figures of %s could not be published: %s", target, say(error))


def artifact_key(stage: str, target: Target) -> str:
    """Return the artifact key of a table task: small letters, digits and dashes."""
    part = f"-{target.index}of{target.count}" if target.count else ""
    return f"{stage}-{target.table}{part}".replace(".", "-").replace("_", "-").lower()
