"""The pipeline: plans groups of tables, starts their extract and load, then the models, then the report.

It never moves data: what it hands to a subflow are names, what it learns from one is how it ended.
"""

from __future__ import annotations

import contextvars
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from prefect import flow, get_run_logger, task
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from flows import plans
from flows import tables as work
from flows.launch import Launcher, Outcome, Step, is_handed_over, make_launcher, over, stopping
from tasks import planning
from tasks.errors import WarehouseError
from tasks.planning import Unit
from tasks.settings import Settings, get_settings

if TYPE_CHECKING:
    from tasks.sources import Sources


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
    over.clear()
    launcher = make_launcher(settings.execution, run_id, attempt, settings.pod_patience)
    progress = Progress()
    try:
        _run(settings, launcher, progress, tables, full, models)
    except BaseException as error:
        # An evicted parent goes on in another pod and finds its children there; any other end is theirs too.
        launcher.abandon(cancel=not is_handed_over())
        if not isinstance(error, Exception):
            raise
        progress.problems.append(work.say(error))
        launcher = make_launcher(settings.execution, run_id, attempt, settings.pod_patience)
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
    names = plans.expand(sources, tables)
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
    known = plans.read(_PLAN)
    if known is not None:
        return known
    units = [
        plan_ranges(unit) if planning.is_split(unit) else unit for unit in plans.make(settings, sources, names, full)
    ]
    plans.publish(_PLAN, units)
    return units


@task(
    name="plan-ranges",
    **work.RETRYING,
)
def plan_ranges(unit: Unit) -> Unit:
    """Plan one batch of a very large table and give each of its ranges to a run."""
    ref = work.read_sources(get_settings()).table(unit.tables[0])
    batch_id, count = ref.connector.plan(ref, work.extract_context(get_settings()))
    return planning.with_batch(unit, batch_id, count)


@task(
    name="join-ranges",
    **work.RETRYING,
)
def join_ranges(unit: Unit) -> None:
    """Commit the batch whose ranges were all read."""
    ref = work.read_sources(get_settings()).table(unit.tables[0])
    ref.connector.join(ref, work.extract_context(get_settings(), batch_id=unit.batch_id))


# -- moving ---------------------------------------------------------------------------------------------------------


@dataclass
class _Moving:
    """A unit on its way: how many of its extracts are open, whether one failed, whether it is being loaded ahead."""

    unit: Unit
    extracts: int
    ahead: bool
    failed: bool = False


def move(launcher: Launcher, units: Sequence[Unit], full: bool, progress: Progress) -> None:
    """Extract and load every unit, units side by side; a unit is loaded when all its extracts have ended.

    The load follows a failed extract too: the group's other tables are waiting, and batches of earlier runs may be. A
    unit that is loaded ahead needs no other load, unless something is left.
    """
    pool = ThreadPoolExecutor(max_workers=launcher.parallel, thread_name_prefix="step")
    running: dict[Future[Outcome], _Moving] = {}

    def start(step: Step, moving: _Moving) -> None:
        # Each thread gets a copy of the flow run's context, or Prefect would not know the parent of what it starts.
        running[pool.submit(contextvars.copy_context().run, launcher.run, step)] = moving

    try:
        for unit in units:
            moving = _Moving(unit, len(unit.extracts), unit.ahead)
            for step in extract_steps(unit, full):
                start(step, moving)
            if unit.ahead:
                start(ahead_step(unit), moving)
        while running:
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                moving = running.pop(future)
                if _ended(launcher, moving, future.result(), progress):
                    start(load_step(moving.unit), moving)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _ended(launcher: Launcher, moving: _Moving, outcome: Outcome, progress: Progress) -> bool:
    """Take note of the end of a step; return whether the unit has to be loaded now."""
    if outcome.step.flow == "extract":
        progress.add(outcome)
        moving.extracts -= 1
        moving.failed |= not outcome.ok
        if not moving.extracts:
            _all_extracted(launcher, moving, progress)
    elif moving.ahead:
        # Only an attempt to be early: what it could not do the load does, and says what is wrong.
        moving.ahead = False
        if outcome.ok:
            progress.add(outcome)
    else:
        progress.add(outcome)
        return False
    return not moving.extracts and not moving.ahead and _is_left(moving.unit)


def _all_extracted(launcher: Launcher, moving: _Moving, progress: Progress) -> None:
    """Join a unit's ranges when all were read; who loads it ahead waits in vain when not."""
    if moving.unit.batch_id and not moving.failed:
        _join(moving.unit, progress)
    if moving.failed and moving.ahead:
        launcher.end(ahead_step(moving.unit))


def _is_left(unit: Unit) -> bool:
    """Return whether a unit has to be loaded yet: always, unless it was loaded ahead and nothing is waiting."""
    if not unit.ahead:
        return True
    from tasks.bronze.pending import pending
    from tasks.landing import Landing

    settings = get_settings()
    sources = work.read_sources(settings)
    landing = Landing.open(settings.landing_root())
    try:
        return any(pending(settings.database_url(), landing, sources.table(name)) for name in unit.tables)
    except WarehouseError:
        # The load itself will say what is wrong.
        return True


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


def ahead_step(unit: Unit) -> Step:
    """Return the step that loads a unit while its extracts run."""
    step = load_step(unit)
    return replace(step, name=f"{step.name} ahead", parameters={**step.parameters, "ahead": True})


def _join(unit: Unit, progress: Progress) -> None:
    state: State[Any] = join_ranges(unit, return_state=True)
    if not state.is_completed():
        progress.problems.append(f"join-ranges {unit.name}: {state.message}")


def tables_to_model(settings: Settings, names: Sequence[str]) -> list[str]:
    """Return the tables with loaded changes that the models do not hold yet, also those an earlier run left behind."""
    from tasks.database import connect
    from tasks.ops import models_built
    from tasks.ops.migrations import migrate

    with connect(settings.database_url(), autocommit=True) as connection:
        migrate(connection)
        return models_built.missing(connection, names)
