"""The pipeline: plans groups of tables, starts their extract and load, then the models, then the report.

It never moves data: what it hands to a subflow are names, what it learns from one is how it ended.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from datetime import date
from typing import TYPE_CHECKING, Any

from prefect import flow, get_run_logger, task
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from flows import plans, table_tasks
from flows.dbt_transform import cool_down, warm_up
from flows.launch import Launcher, Outcome, Step, extraction, is_handed_over, make_launcher, stopping
from flows.plans import How
from monitoring.hooks import RECORDED
from tasks import planning
from tasks.errors import WarehouseError
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


@flow(name="pipeline", flow_run_name=_run_name, **RECORDED)
def pipeline(
    tables: list[str] | None = None,
    full: bool = False,
    models: bool = True,
    from_day: date | None = None,
    to_day: date | None = None,
) -> State[Any]:
    """Bring tables from their sources to gold, and say how it went.

    Args:
        tables: `source.table` or `source`; none means every table.
        full: Read everything again, whatever the checkpoints say.
        models: Whether to build the dbt models of what was loaded.
        from_day: Read only these days again, with `to_day`; what was interrupted goes on.
        to_day: The last of them.

    Returns:
        Failed, naming every table and model that failed, or Completed. One failing table stops no other.
    """
    from prefect.runtime import flow_run

    settings = get_settings()
    run_id, attempt = str(flow_run.id), int(flow_run.run_count or 1)
    stopping.clear()
    launcher = make_launcher(settings.execution, run_id, attempt, settings.pod_patience)
    progress = Progress()
    try:
        _run(settings, launcher, progress, tables, How(full, from_day, to_day), models)
    except BaseException as error:
        # An evicted parent goes on in another pod and finds its children there; any other end is theirs too.
        launcher.abandon(cancel=not is_handed_over())
        if not isinstance(error, Exception):
            raise
        progress.problems.append(table_tasks.say(error))
        launcher = make_launcher(settings.execution, run_id, attempt, settings.pod_patience)
    finally:
        cool_down()
    report = launcher.run(Step("monitoring", "monitoring", "small", {"run": run_id, "problems": progress.problems}))
    if not report.ok:
        progress.problems.append(f"monitoring {report.state}: {report.message}")
    if progress.problems:
        return Failed(message="; ".join(progress.problems))
    return Completed(message=f"{len(progress.outcomes)} step(s) done")


def _run(
    settings: Settings, launcher: Launcher, progress: Progress, tables: list[str] | None, how: How, models: bool
) -> None:
    sources = table_tasks.read_sources(settings)
    names = plans.expand(sources, tables)
    plans.window(sources, names, how)
    units = load_or_make_plan(settings, sources, names, how.full)
    wanted = Models(settings, [sources.table(name) for name in names], whole=len(names) == len(list(sources.refs())))
    if models:
        wanted.begin()
    with extraction.followed(wanted.landed):
        move(launcher, units, how, progress, Batches())
    if models and wanted.needed():
        parameters = {"tables": None if wanted.whole else list(names), "group": "pipeline", "changed": True}
        progress.add(launcher.run(Step("dbt-transform", "dbt-transform", "medium", parameters)))
    elif models:
        get_run_logger().info("no model lacks a change, and none of them changed itself: dbt is not started")


class Models:
    """Whether models have to be built, and when to have dbt started for them: as late as it costs no time.

    Attributes:
        whole: Whether the run is of every table.
    """

    def __init__(self, settings: Settings, refs: Sequence[TableRef], *, whole: bool) -> None:
        self.whole = whole
        self._settings, self._refs = settings, refs
        # Where each step has a process of its own, that of dbt-transform starts dbt itself.
        self._here = settings.execution == "in_process"
        self._feeding: frozenset[str] = frozenset()
        self._starting = threading.Lock()

    def begin(self) -> None:
        """Have dbt started at once where it is known already that it will have to build or parse."""
        from tasks import dbt

        if self._here and self.needed():
            warm_up(self._settings)
        elif self._here:
            self._feeding = dbt.feeding(self._settings, self._refs)

    def landed(self, name: str) -> None:
        """Have dbt started while the rest is moved, once a table brings something which models read; thread-safe."""
        if name in self._feeding and self._brings_rows(name):
            with self._starting:
                if self._feeding:
                    warm_up(self._settings)
                self._feeding = frozenset()

    def needed(self) -> bool:
        """Return whether dbt has to run; true also where only dbt can tell, because the project was never parsed."""
        from tasks import dbt

        return dbt.is_needed(self._settings, self._refs, whole=self.whole) is not False

    def _brings_rows(self, name: str) -> bool:
        from tasks.bronze.pending import pending
        from tasks.landing import Landing

        ref = next(ref for ref in self._refs if ref.name == name)
        landing = Landing.open(self._settings.landing_root())
        try:
            waiting = pending(self._settings.database_url(), landing, ref)
            manifests = [landing.manifest(ref.source_name, ref.table_name, batch) for batch in waiting]
        except WarehouseError:
            # The load itself will say what is wrong.
            return False
        # A whole table is landed in every run; whether it holds a change is known once it is loaded.
        return any(manifest.parts and manifest.scope.type != "snapshot" for manifest in manifests)


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
    **table_tasks.RETRYING,
)
def plan_ranges(unit: Unit) -> Unit:
    """Plan one batch of a very large table and give each of its ranges to a run."""
    ref = table_tasks.read_sources(get_settings()).table(unit.tables[0])
    batch_id, count = ref.connector.plan(ref, table_tasks.extract_context(get_settings()))
    return planning.with_batch(unit, batch_id, count)


@task(
    name="join-ranges",
    **table_tasks.RETRYING,
)
def join_ranges(unit: Unit) -> None:
    """Commit the batch whose ranges were all read."""
    ref = table_tasks.read_sources(get_settings()).table(unit.tables[0])
    ref.connector.join(ref, table_tasks.extract_context(get_settings(), batch_id=unit.batch_id))


# -- moving ---------------------------------------------------------------------------------------------------------


class Batches:
    """What has to be known of a unit's batches while it moves."""

    def join(self, unit: Unit) -> str:
        """Commit the batch of a unit whose ranges were all read; return what went wrong, or nothing."""
        state: State[Any] = join_ranges(unit, return_state=True)
        return "" if state.is_completed() else f"join-ranges {unit.name}: {state.message}"

    def is_missing(self, unit: Unit) -> bool:
        """Return whether a table that is loaded ahead has no batch, though its extract succeeded: it had no rows."""
        from tasks.landing import Landing

        settings = get_settings()
        landing = Landing.open(settings.landing_root())
        sources = table_tasks.read_sources(settings)
        try:
            return not all(landing.batches(*sources.table(name).key) for name in unit.ahead)
        except WarehouseError:
            return True

    def is_waiting(self, unit: Unit) -> bool:
        """Return whether a unit has a batch that has to be loaded yet; true also where only the load can tell."""
        from tasks.bronze.pending import pending
        from tasks.landing import Landing

        settings = get_settings()
        sources = table_tasks.read_sources(settings)
        landing = Landing.open(settings.landing_root())
        try:
            return any(pending(settings.database_url(), landing, sources.table(name)) for name in unit.tables)
        except WarehouseError:
            return True


@dataclass
class _Moving:
    """A unit on its way: how many of its extracts are open, whether one failed, whether it is being loaded ahead."""

    unit: Unit
    extracts: int
    ahead: bool
    failed: bool = False


def move(
    launcher: Launcher,
    units: Sequence[Unit],
    how: How,
    progress: Progress,
    batches: Batches,
) -> None:
    """Extract and load every unit, units side by side; a unit is loaded when all its extracts have ended.

    The load follows a failed extract too: the group's other tables are waiting, and batches of earlier runs may be. A
    unit whose tables are loaded ahead needs no other load, unless something is left.
    """
    pool = ThreadPoolExecutor(max_workers=launcher.parallel, thread_name_prefix="step")
    running: dict[Future[Outcome], _Moving] = {}

    def start(step: Step, moving: _Moving) -> None:
        # Each thread gets a copy of the flow run's context, or Prefect would not know the parent of what it starts.
        running[pool.submit(contextvars.copy_context().run, launcher.run, step)] = moving

    try:
        for unit in units:
            moving = _Moving(unit, len(unit.extracts), bool(unit.ahead))
            for step in extract_steps(unit, how):
                start(step, moving)
            if unit.ahead:
                start(ahead_step(unit), moving)
        while running:
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                moving = running.pop(future)
                if _ended(launcher, moving, future.result(), progress, batches):
                    start(load_step(moving.unit), moving)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _ended(launcher: Launcher, moving: _Moving, outcome: Outcome, progress: Progress, batches: Batches) -> bool:
    """Take note of the end of a step; return whether the unit has to be loaded now."""
    if outcome.step.flow == "extract":
        progress.add(outcome)
        moving.extracts -= 1
        moving.failed |= not outcome.ok
        if not moving.extracts:
            _all_extracted(launcher, moving, progress, batches)
    elif moving.ahead:
        # Only an attempt to be early: what it could not do the load does, and says what is wrong.
        moving.ahead = False
        if outcome.ok:
            progress.add(outcome)
    else:
        progress.add(outcome)
        return False
    if moving.extracts or moving.ahead:
        return False
    # Where all was loaded ahead, another load has something to do only if a batch was left.
    return moving.unit.ahead != moving.unit.tables or batches.is_waiting(moving.unit)


def _all_extracted(launcher: Launcher, moving: _Moving, progress: Progress, batches: Batches) -> None:
    """Join a unit's ranges when all were read; who loads it ahead waits in vain when not."""
    if moving.unit.batch_id and not moving.failed and (problem := batches.join(moving.unit)):
        progress.problems.append(problem)
    if moving.ahead and (moving.failed or batches.is_missing(moving.unit)):
        launcher.end(ahead_step(moving.unit))


def extract_steps(unit: Unit, how: How) -> list[Step]:
    """Return the extract steps of a unit."""
    return [
        Step(
            f"extract {group.name}",
            "extract",
            group.resources,
            {"tables": list(group.targets), "group": group.name, "resources": group.resources, **how.parameters()},
        )
        for group in unit.extracts
    ]


def load_step(unit: Unit) -> Step:
    """Return the load step of a unit."""
    parameters = {"tables": list(unit.tables), "group": unit.name, "resources": unit.resources}
    return Step(f"load-bronze {unit.name}", "load-bronze", unit.resources, parameters)


def ahead_step(unit: Unit) -> Step:
    """Return the step that loads tables of a unit while its extracts run."""
    step = load_step(unit)
    parameters = {**step.parameters, "tables": list(unit.ahead), "ahead": True}
    return replace(step, name=f"{step.name} ahead", parameters=parameters)
