"""The pipeline: plans groups of tables, starts their extract and load, then the models, then the report.

It never moves data: what it hands to a subflow are names, what it learns from one is how it ended.
"""

from __future__ import annotations

import contextvars
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from flows import tables as work
from flows.launch import Launcher, Outcome, Step, is_handed_over, make_launcher, stopping
from tasks import planning
from tasks.planning import Unit
from tasks.settings import Settings, get_settings

if TYPE_CHECKING:
    from tasks.sources import Sources, TableRef


@dataclass
class Progress:
    """What a pipeline run has come to so far."""

    outcomes: list[Outcome] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        """Take note of how a step ended."""
        self.outcomes.append(outcome)
        if not outcome.ok:
            self.problems.append(f"{outcome.step.name} {outcome.state}: {outcome.message}")


def _run_name() -> str:
    """Name a run after its tables; Prefect calls this without arguments."""
    from prefect.runtime import flow_run

    tables = flow_run.parameters.get("tables") or ["all tables"]
    return f"pipeline {tables[0]}" + (f" and {len(tables) - 1} more" if len(tables) > 1 else "")


@flow(name="pipeline", flow_run_name=_run_name)
def pipeline(tables: list[str] | None = None, full: bool = False, models: bool = True) -> State[Any]:
    """Bring tables from their sources to gold, and say how it went.

    Args:
        tables: `source.table` or `source`; none means every table.
        full: Read everything again, whatever the checkpoints say.
        models: Whether to build the dbt models of what was loaded.

    Returns:
        Failed, naming every table and model that failed, or Completed. One failing table stops no other.
    """
    from prefect.runtime import flow_run

    settings = get_settings()
    run_id, attempt = str(flow_run.id), int(flow_run.run_count or 1)
    stopping.clear()
    launcher = make_launcher(settings.execution, run_id, attempt)
    progress = Progress()
    try:
        _run(settings, launcher, progress, tables, full, models)
    except BaseException as error:
        # An evicted parent goes on in another pod and finds its children there; any other end is theirs too.
        launcher.abandon(cancel=not is_handed_over())
        if not isinstance(error, Exception):
            raise
        progress.problems.append(work.say(error))
        launcher = make_launcher(settings.execution, run_id, attempt)
    report = launcher.run(Step("monitoring", "monitoring", "small", {"run": run_id, "problems": progress.problems}))
    if not report.ok:
        progress.problems.append(f"monitoring {report.state}: {report.message}")
    if progress.problems:
        return Failed(message="; ".join(progress.problems))
    return Completed(message=f"{len(progress.outcomes)} step(s) done")


def _run(
    settings: Settings, launcher: Launcher, progress: Progress, tables: list[str] | None, full: bool, models: bool
) -> None:
    sources = work.read_sources(settings)
    names = work.expand(sources, tables)
    units = load_or_make_plan(settings, sources, names, full)
    move(launcher, units, full, progress)
    if models:
        changed = tables_to_model(settings, names)
        if changed:
            parameters = {"tables": changed, "group": "pipeline"}
            progress.add(launcher.run(Step("dbt-transform", "dbt-transform", "medium", parameters)))
        else:
            get_run_logger().info("no table has changes that the models lack: dbt is not run")


# -- the plan -------------------------------------------------------------------------------------------------------

_PLAN = "pipeline-plan"


def load_or_make_plan(settings: Settings, sources: Sources, names: Sequence[str], full: bool) -> list[Unit]:
    """Return the plan of this flow run: the one it made before it was interrupted, else a new one.

    A second plan could group tables otherwise, and the children of the first would not be found again.
    """
    from flows import plans

    known = plans.read(_PLAN)
    if known is not None:
        return known
    units = [
        plan_ranges(unit) if planning.is_split(unit) else unit for unit in make_plan(settings, sources, names, full)
    ]
    plans.publish(_PLAN, units)
    return units


def make_plan(settings: Settings, sources: Sources, names: Sequence[str], full: bool = False) -> list[Unit]:
    """Plan a run from configuration, sizes of recent runs and checkpoints; reads no source.

    Raises:
        WarehouseUnreachable: The warehouse, which knows sizes and checkpoints, did not answer.
    """
    from monitoring import log
    from tasks import checkpoints
    from tasks.database import connect, ensure_ops

    with connect(settings.database_url(), autocommit=True) as connection:
        ensure_ops(connection)
        log.ensure(connection)
        history = log.table_history(connection, "extract")
        loaded = {f"{found.source}.{found.table_name}" for found in checkpoints.read_all(connection)}
    loads = []
    for ref in map(sources.table, names):
        recent = history.get(ref.name, {})
        loads.append(
            planning.TableLoad(
                ref.name,
                ref.table.resources,
                getattr(ref.table, "partitions", 1),
                _is_splittable(ref, first=full or ref.name not in loaded),
                recent.get("seconds"),
                int(recent["bytes"]) if recent else None,
            )
        )
    return planning.plan(loads, spread=settings.execution == "deployments")


def _is_splittable(ref: TableRef, first: bool) -> bool:
    """Return whether the next read is of a whole collection, which is what ranges can share."""
    mode = work.mode_of(ref)
    return mode == "full" or (mode in ("cdc", "incremental") and first)


@task(
    name="plan-ranges",
    retries=work.RETRIES,
    retry_delay_seconds=work.RETRY_DELAYS,
    retry_condition_fn=work.retry_transient,
    cache_policy=NO_CACHE,
)
def plan_ranges(unit: Unit) -> Unit:
    """Plan one batch of a very large table and give each of its ranges to a run."""
    from tasks.mongodb.extract import plan_batch

    ref = work.read_sources(get_settings()).table(unit.tables[0])
    batch_id, count = plan_batch(ref, work.extract_context(get_settings()))
    return planning.with_batch(unit, batch_id, count)


@task(
    name="join-ranges",
    retries=work.RETRIES,
    retry_delay_seconds=work.RETRY_DELAYS,
    retry_condition_fn=work.retry_transient,
    cache_policy=NO_CACHE,
)
def join_ranges(unit: Unit) -> None:
    """Commit the batch whose ranges were all read."""
    from tasks.mongodb.extract import join_batch

    ref = work.read_sources(get_settings()).table(unit.tables[0])
    join_batch(ref, work.extract_context(get_settings(), batch_id=unit.batch_id))


# -- moving ---------------------------------------------------------------------------------------------------------


def move(launcher: Launcher, units: Sequence[Unit], full: bool, progress: Progress) -> None:
    """Extract and load every unit, units side by side; a unit is loaded when all its extracts have ended.

    The load follows a failed extract too: the group's other tables are waiting, and batches of earlier runs may be.
    """
    pool = ThreadPoolExecutor(max_workers=launcher.parallel, thread_name_prefix="step")
    running: dict[Future[Outcome], Unit] = {}

    def start(step: Step, unit: Unit) -> None:
        # Each thread gets a copy of the flow run's context, or Prefect would not know the parent of what it starts.
        running[pool.submit(contextvars.copy_context().run, launcher.run, step)] = unit

    try:
        open_extracts = {unit.name: len(unit.extracts) for unit in units}
        failed: set[str] = set()
        for unit in units:
            for step in extract_steps(unit, full):
                start(step, unit)
        while running:
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                unit, outcome = running.pop(future), future.result()
                progress.add(outcome)
                if outcome.step.flow != "extract":
                    continue
                open_extracts[unit.name] -= 1
                if not outcome.ok:
                    failed.add(unit.name)
                if not open_extracts[unit.name]:
                    if unit.batch_id and unit.name not in failed:
                        _join(unit, progress)
                    start(load_step(unit), unit)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def extract_steps(unit: Unit, full: bool) -> list[Step]:
    """Return the extract steps of a unit."""
    return [
        Step(
            f"extract {group.name}",
            "extract",
            group.resources,
            {"tables": list(group.targets), "group": group.name, "resources": group.resources, "full": full},
        )
        for group in unit.extracts
    ]


def load_step(unit: Unit) -> Step:
    """Return the load step of a unit."""
    parameters = {"tables": list(unit.tables), "group": unit.name, "resources": unit.resources}
    return Step(f"load-bronze {unit.name}", "load-bronze", unit.resources, parameters)


def _join(unit: Unit, progress: Progress) -> None:
    state: State[Any] = join_ranges(unit, return_state=True)
    if not state.is_completed():
        progress.problems.append(f"join-ranges {unit.name}: {state.message}")


def tables_to_model(settings: Settings, names: Sequence[str]) -> list[str]:
    """Return the tables with loaded changes that the models do not hold yet, also those an earlier run left behind."""
    from monitoring import log
    from tasks.database import connect, ensure_ops

    with connect(settings.database_url(), autocommit=True) as connection:
        ensure_ops(connection)
        log.ensure(connection)
        return log.not_built(connection, names)
