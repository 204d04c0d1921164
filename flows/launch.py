"""How a step of the pipeline is started: as a function call, or as a run of its own deployment. It passes names alone.

A deployment's run outlives its parent: when the parent's pod was evicted and started again, the children are found by
their tags; completed ones are reused, running ones joined, failed ones retried by policy under the next attempt's key.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from monitoring import history
from monitoring.pods import crash_texts, diagnosis, reason_of
from tasks.paging import pages
from tasks.resources import step_up

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun, State

FLOWS = {
    "extract": "flows.extract:extract",
    "load-bronze": "flows.load_bronze:load_bronze",
    "dbt-transform": "flows.dbt_transform:dbt_transform",
    "monitoring": "monitoring.flow:monitoring",
}
"""Entry of each flow that the pipeline starts."""

DBT_LIMIT = "warehouse-dbt"
"""Global concurrency limit of dbt runs: two of them would build the same tables."""

# Runs of deployments are looked at this often; a child takes some 20 s to start, so more often tells nothing sooner.
POLL_SECONDS = 2.0
# A run that crashed (killed, evicted without goodbye, out of memory) is started again this often per attempt of its
# parent; Prefect's own retries never see a crash.
CRASH_RETRIES = 2
# How long the Prefect API may be away before a step is given up, in seconds: longer than a server's restart.
API_PATIENCE_SECONDS = 600.0
# The worker's own words in prefect-kubernetes 0.8 (`diagnostics.py`).
_CANNOT_START = ("Image pull failed", "Pod is unschedulable")
# The scheduler's word for nodes that would fit but are full: they come free when other pods end.
_NO_ROOM = "Insufficient"
_OUT_OF_MEMORY = ("OOMKilled", "out of memory", "status code: -9", "exit code 137", "MemoryError")

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Step:
    """One subflow run of a pipeline.

    Attributes:
        name: Name that is unique and stable within the pipeline run; children are found again by it.
        flow: Key of `FLOWS`.
        resources: Resource class, which is also the name of the deployment.
        parameters: Names only.
    """

    name: str
    flow: str
    resources: str
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """How a step ended.

    Attributes:
        step: The step.
        state: Name of the run's final state.
        message: What the state says.
        flow_run_id: The run; None when none could be started.
    """

    step: Step
    state: str
    message: str = ""
    flow_run_id: str | None = None

    @property
    def ok(self) -> bool:
        """Whether the step completed."""
        return self.state == "Completed"


class Launcher(Protocol):
    """Starts steps and waits for them; one per pipeline run."""

    parallel: int

    def run(self, step: Step) -> Outcome:
        """Run a step to its end. Never raises for a failure of the step itself."""
        ...

    def end(self, step: Step) -> None:
        """Ask for the end of a step that waits for what will not come."""
        ...

    def abandon(self, cancel: bool) -> None:
        """Stop waiting, because the parent ends; with `cancel` also end the children."""
        ...


def make_launcher(
    execution: Literal["in_process", "deployments"], parent_run_id: str, attempt: int, pod_patience: float
) -> Launcher:
    """Return the launcher that the setting `execution` asks for.

    Args:
        execution: `in_process` or `deployments`.
        parent_run_id: The pipeline's flow run.
        attempt: How often that run has been started, from 1.
        pod_patience: Seconds that a pod may wait for its image or for a node that fits.
    """
    if execution == "in_process":
        return InProcess(parent_run_id)
    return Deployments(parent_run_id, attempt, pod_patience)


def tags_of(parent_run_id: str, step_name: str) -> list[str]:
    """Return the tags by which a child is found again."""
    return [f"parent:{parent_run_id}", f"step:{step_name}"]


# -- in process ---------------------------------------------------------------------------------------------------


# Set when the process is to end: table tasks look at it between rows, since threads cannot be interrupted.
stopping = threading.Event()


class Extraction:
    """What has ended of the extraction in this process, for those who load while it goes on.

    In a process that only loads nothing of it is ever known, so nobody waits there.
    """

    # How often who waits looks whether the process is to end: nobody wakes them for that.
    _LOOK_SECONDS = 0.5

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._tables: set[str] = set()
        self._groups: set[str] = set()
        self._told: Callable[[str], None] | None = None

    @contextmanager
    def followed(self, told: Callable[[str], None]) -> Iterator[None]:
        """Begin anew, and follow the extraction of a pipeline that runs in this process.

        Args:
            told: Called with the name of each table whose extract has ended, in the thread that did it.
        """
        self._follow(told)
        try:
            yield
        finally:
            self._follow(None)

    def _follow(self, told: Callable[[str], None] | None) -> None:
        with self._changed:
            self._tables.clear()
            self._groups.clear()
            self._told = told
            self._changed.notify_all()

    def end_table(self, name: str) -> None:
        """Note that a table's extract has ended, well or not."""
        try:
            # Before somebody loads it: who is told looks at what waits.
            if (told := self._told) is not None:
                told(name)
        finally:
            with self._changed:
                self._tables.add(name)
                self._changed.notify_all()

    def end_group(self, group: str) -> None:
        """Note that nothing more comes of a group."""
        with self._changed:
            self._groups.add(group)
            self._changed.notify_all()

    def is_over(self, group: str) -> bool:
        """Return whether waiting for more of a group is in vain."""
        return group in self._groups

    def wait_for(self, name: str, group: str) -> None:
        """Wait until a table's extract has ended, or nothing more comes of its group, or nobody follows it here."""
        with self._changed:
            while self._told and not (name in self._tables or group in self._groups or stopping.is_set()):
                self._changed.wait(self._LOOK_SECONDS)


extraction = Extraction()


class InProcess:
    """Calls the flow function in this process."""

    # More groups side by side than this only share the same cores and memory.
    parallel = 2

    def __init__(self, parent_run_id: str) -> None:
        self.parent_run_id = parent_run_id

    def run(self, step: Step) -> Outcome:
        """Run the step's flow here; its heartbeat stays off, the parent's tells that the process lives."""
        from prefect import tags

        with quiet_heartbeat(), tags(*tags_of(self.parent_run_id, step.name)):
            state = load_flow(step.flow)(**step.parameters, return_state=True)
        run_id = state.state_details.flow_run_id
        return Outcome(step, state.name or "", state.message or "", str(run_id) if run_id else None)

    def end(self, step: Step) -> None:
        """Tell the step's tasks that they wait in vain."""
        extraction.end_group(str(step.parameters["group"]))

    def abandon(self, cancel: bool) -> None:
        """Tell the table tasks of this process to stop."""
        stopping.set()


def load_flow(name: str) -> Callable[..., State[Any]]:
    """Return the flow function that `FLOWS` names."""
    module, _, attribute = FLOWS[name].partition(":")
    flow: Callable[..., State[Any]] = getattr(import_module(module), attribute)
    return flow


def quiet_heartbeat() -> AbstractContextManager[object]:
    """Return a context without Prefect's heartbeat thread.

    Joining that thread costs each in-process flow run close to a second, as it sleeps in whole seconds, and no
    environment variable can turn it off. Remove this when Prefect joins it at once.
    """
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    if PREFECT_FLOWS_HEARTBEAT_FREQUENCY.value() is None:
        return nullcontext()
    return temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None})


# -- deployments --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ChildRun:
    """A run found under a step's tags.

    Attributes:
        id: Flow run id.
        type: Type of its state, such as `COMPLETED`.
        deployment: Resource class it ran in; empty when unknown.
        out_of_memory: Whether it was killed for its memory.
        cannot_start: Whether its pod waited for its image or a node until Kubernetes' deadline.
    """

    id: str
    type: str
    deployment: str = ""
    out_of_memory: bool = False
    cannot_start: bool = False


@dataclass(frozen=True)
class Decision:
    """What to do about a step.

    Attributes:
        action: `reuse` a completed run, `join` a running one, `create` the next, or `give_up`.
        run_id: The run to reuse or join, or the last failed one.
        failures: Ended runs without success so far: the number in the next run's key.
        resources: Class for the run to create.
    """

    action: Literal["reuse", "join", "create", "give_up"]
    run_id: str | None = None
    failures: int = 0
    resources: str = ""


_TERMINAL = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


def decide(runs: Sequence[ChildRun], attempt: int, resources: str) -> Decision:
    """Decide what to do about a step from the runs that exist.

    A failed run had its tables' own retries, so it is run again only when the parent itself is; a crashed one had none,
    so it gets `CRASH_RETRIES` more for each attempt of the parent, one class larger each time memory was the reason.
    One whose pod could not start has waited for its whole deadline already; another would only wait as long again.

    Args:
        runs: Runs of the step, oldest first.
        attempt: How often the parent has been started, from 1.
        resources: Class that the plan asks for.
    """
    by_type: dict[str, list[ChildRun]] = {}
    for run in runs:
        by_type.setdefault(run.type, []).append(run)
    if completed := by_type.get("COMPLETED"):
        return Decision("reuse", completed[-1].id)
    if live := [run for run in runs if run.type not in _TERMINAL]:
        return Decision("join", live[-1].id)
    crashed = by_type.get("CRASHED", [])
    ended = len(runs) - len(crashed)
    hopeless = len([run for run in crashed if run.cannot_start]) >= attempt
    if runs and (ended >= attempt or hopeless or len(crashed) > CRASH_RETRIES + attempt - 1):
        return Decision("give_up", runs[-1].id, len(runs))
    for run in crashed:
        if run.out_of_memory:
            resources = step_up(run.deployment or resources)
    return Decision("create", None, len(runs), resources)


class Deployments:
    """Starts each step as a run of the deployment `<flow>/<resource class>` and waits for it."""

    # The deployments' own concurrency limits bound what runs at once; this bounds the threads that wait.
    parallel = 32

    def __init__(
        self, parent_run_id: str, attempt: int, pod_patience: float, poll_seconds: float = POLL_SECONDS
    ) -> None:
        self.parent_run_id = parent_run_id
        self.attempt = attempt
        self.pod_patience = pod_patience
        self.poll_seconds = poll_seconds
        self._stop = threading.Event()
        # Prefect numbers the tracking task runs of a parent in a dict that is not safe for threads.
        self._creating = threading.Lock()

    def run(self, step: Step) -> Outcome:
        """Find or start the step's run, wait for its end, and start it again as the policy says."""
        while not self._stop.is_set():
            decision = decide(self._patiently(partial(self.find, step)), self.attempt, step.resources)
            if decision.action in ("reuse", "give_up"):
                return self._outcome(step, self._patiently(partial(self.read, str(decision.run_id))))
            self.wait(decision.run_id or self._patiently(partial(self.create, step, decision)))
        return Outcome(step, "Abandoned", "the pipeline ended before this step")

    def find(self, step: Step) -> list[ChildRun]:
        """Return the runs of a step, oldest first."""
        from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterTags
        from prefect.client.schemas.sorting import FlowRunSort

        wanted = FlowRunFilter(tags=FlowRunFilterTags(all_=tags_of(self.parent_run_id, step.name)))
        client = _client()
        runs = pages(
            lambda limit, offset: client.read_flow_runs(
                flow_run_filter=wanted, sort=FlowRunSort.EXPECTED_START_TIME_ASC, limit=limit, offset=offset
            )
        )
        return [self._child(client, run) for run in runs]

    def create(self, step: Step, decision: Decision) -> str:
        """Start a run; the same key gives the same run, whoever asks."""
        from prefect.deployments import run_deployment

        with self._creating:
            run: Any = run_deployment(
                f"{step.flow}/{decision.resources}",
                parameters=dict(step.parameters),
                timeout=0,
                flow_run_name=step.name,
                tags=[*tags_of(self.parent_run_id, step.name), f"class:{decision.resources}", *self._warehouse_tags()],
                idempotency_key=f"{self.parent_run_id}:{step.name}:{decision.failures}",
            )
        return str(run.id)

    def _warehouse_tags(self) -> list[str]:
        """Return the parent's warehouse: a child that never starts is then known to be its run, too."""
        return history.warehouse_tags(self.read(self.parent_run_id).tags)

    def wait(self, run_id: str) -> None:
        """Wait until a run has ended, or until the parent ends; end a run whose pod cannot start."""
        while not self._stop.wait(self.poll_seconds):
            run = self._patiently(partial(self.read, run_id))
            if run.state is not None and run.state.is_final():
                return
            if waits_in_vain(run, self.pod_patience, partial(self._patiently, partial(self.diagnosis, run))):
                # Server and worker take the Job away; otherwise the pod would wait for its deadline of hours.
                self._patiently(partial(self.cancel, run, f"its pod could not start in {self.pod_patience:.0f} s"))

    def read(self, run_id: str) -> FlowRun:
        """Return a run as the server knows it."""
        from uuid import UUID

        return _client().read_flow_run(UUID(run_id))

    def reason(self, run: FlowRun) -> str:
        """Return why a run ended, as far as the server and the worker know."""
        return reason_of(_client(), run)

    def end(self, step: Step) -> None:
        """Cancel the step's run."""
        self._patiently(partial(cancel_runs, tags_of(self.parent_run_id, step.name), f"{step.name} waits in vain"))

    def diagnosis(self, run: FlowRun) -> str:
        """Return what the worker last saw of a run's pod."""
        return diagnosis(_client(), run)

    def cancel(self, run: FlowRun, reason: str) -> None:
        """Ask for the end of a run."""
        from prefect.states import Cancelling

        _client().set_flow_run_state(run.id, Cancelling(message=reason))

    def abandon(self, cancel: bool) -> None:
        """Stop waiting; with `cancel` end every child that has not ended."""
        self._stop.set()
        if cancel:
            cancel_children(self.parent_run_id)

    def _child(self, client: SyncPrefectClient, run: FlowRun) -> ChildRun:
        state = run.state
        kind = state.type.value if state is not None else "PENDING"
        classes = [tag.removeprefix("class:") for tag in run.tags if tag.startswith("class:")]
        texts = crash_texts(client, run) if kind == "CRASHED" else []
        killed = any(sign in text for text in texts for sign in _OUT_OF_MEMORY)
        # Not by the start time: the server gives one to a run that ended without ever running.
        never = run.run_count == 0 and any(sign in text for text in texts for sign in _CANNOT_START)
        return ChildRun(str(run.id), kind, classes[0] if classes else "", killed, never)

    def _outcome(self, step: Step, run: FlowRun) -> Outcome:
        if run.state is None:
            return Outcome(step, "Unknown", "", str(run.id))
        return Outcome(step, run.state.name or "", self._patiently(partial(self.reason, run)), str(run.id))

    def _patiently(self, call: Callable[[], _Result]) -> _Result:
        """Call the API, outlasting a restart of its server."""
        deadline = time.monotonic() + API_PATIENCE_SECONDS
        while True:
            try:
                return call()
            except Exception as error:
                if not _is_api_outage(error) or time.monotonic() > deadline or self._stop.wait(self.poll_seconds):
                    raise


def cancel_children(parent_run_id: str) -> int:
    """Ask for the end of every run tagged with a parent that has not ended, and return how many there were."""
    return cancel_runs([f"parent:{parent_run_id}"], f"its pipeline run {parent_run_id} ended")


def cancel_runs(tags: list[str], why: str) -> int:
    """Ask for the end of every run with all of `tags` that has not ended, and return how many there were."""
    from prefect.client.schemas.filters import (
        FlowRunFilter,
        FlowRunFilterState,
        FlowRunFilterStateType,
        FlowRunFilterTags,
    )
    from prefect.client.schemas.objects import StateType
    from prefect.states import Cancelling

    wanted = FlowRunFilter(
        tags=FlowRunFilterTags(all_=tags),
        state=FlowRunFilterState(
            type=FlowRunFilterStateType(
                any_=[StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING, StateType.PAUSED]
            )
        ),
    )
    client = _client()
    # All before the first is cancelled, which takes it out of the pages.
    runs = list(pages(lambda limit, offset: client.read_flow_runs(flow_run_filter=wanted, limit=limit, offset=offset)))
    for run in runs:
        client.set_flow_run_state(run.id, Cancelling(message=why))
    return len(runs)


def is_handed_over() -> bool:
    """Return whether this process ends because its run goes on elsewhere (eviction), not because it is over."""
    # Prefect tells it to nobody but its engine; remove the private import when there is a public one.
    from prefect._internal.control_listener import get_intent

    return get_intent() in ("reschedule", "relinquish")


def _client() -> SyncPrefectClient:
    """Return the flow run's own client; it is shared by threads, so none of them may enter and leave it."""
    from prefect.client.orchestration import get_client

    return get_client(sync_client=True)


def _is_api_outage(error: Exception) -> bool:
    import httpx
    from prefect.exceptions import PrefectHTTPStatusError

    if isinstance(error, PrefectHTTPStatusError):
        return error.response.status_code >= 500
    return isinstance(error, httpx.TransportError)


def waits_in_vain(run: FlowRun, patience: float, diagnosis: Callable[[], str]) -> bool:
    """Return whether a run's pod has waited too long for an image that cannot be pulled or a node that none is.

    A pod that only waits for room is left to wait: others end. One that ran before waits for the node it had to leave.

    Args:
        run: The run.
        patience: Seconds in which a registry or an autoscaler may still help.
        diagnosis: Asks what the worker saw of the pod; only called when the time is over.
    """
    if run.state is None or not run.state.is_pending() or run.run_count:
        return False
    if (datetime.now(UTC) - run.state.timestamp).total_seconds() < patience:
        return False
    seen = diagnosis()
    return seen.startswith(_CANNOT_START) and _NO_ROOM not in seen
