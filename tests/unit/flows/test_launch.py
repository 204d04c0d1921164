"""What is done about a step: reuse, join, start again or give up; and that waiting outlasts the API."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prefect.client.schemas.objects import State, StateType
from prefect_kubernetes.diagnostics import diagnose_k8s_pod

from flows import launch
from flows.launch import CRASH_RETRIES, ChildRun, Decision, Deployments, Step, decide, waits_in_vain

STEP = Step("extract small-1", "extract", "small", {"tables": ["shop.orders"]})


def runs(*types: str, oom: bool = False) -> list[ChildRun]:
    return [ChildRun(str(number), kind, "small", oom and kind == "CRASHED") for number, kind in enumerate(types)]


@pytest.mark.parametrize(
    ("found", "attempt", "expected"),
    [
        ([], 1, Decision("create", None, 0, "small")),
        (["COMPLETED"], 1, Decision("reuse", "0")),
        (["FAILED", "COMPLETED"], 2, Decision("reuse", "1")),
        (["RUNNING"], 1, Decision("join", "0")),
        (["SCHEDULED"], 3, Decision("join", "0")),
        (["CRASHED", "PENDING"], 1, Decision("join", "1")),
        (["FAILED"], 1, Decision("give_up", "0", 1)),
        (["FAILED"], 2, Decision("create", None, 1, "small")),
        (["FAILED", "FAILED"], 2, Decision("give_up", "1", 2)),
        (["CANCELLED"], 1, Decision("give_up", "0", 1)),
        (["CRASHED"], 1, Decision("create", None, 1, "small")),
        (["CRASHED"] * 3, 1, Decision("give_up", "2", 3)),
        (["CRASHED"] * 3, 2, Decision("create", None, 3, "small")),
        (["CRASHED", "FAILED"], 1, Decision("give_up", "1", 2)),
    ],
)
def test_decisions(found: list[str], attempt: int, expected: Decision) -> None:
    assert decide(runs(*found), attempt, "small") == expected


def test_a_pod_that_could_not_start_is_tried_once_for_each_start_of_the_parent() -> None:
    waited = ChildRun("0", "CRASHED", "small", cannot_start=True)
    assert decide([waited], 1, "small") == Decision("give_up", "0", 1)
    assert decide([waited], 2, "small") == Decision("create", None, 1, "small")


def test_memory_kills_step_up_one_class_each_time_within_the_cap() -> None:
    first = ChildRun("0", "CRASHED", "small", out_of_memory=True)
    assert decide([first], 1, "small").resources == "medium"
    second = ChildRun("1", "CRASHED", "medium", out_of_memory=True)
    assert decide([first, second], 1, "small").resources == "large"
    top = ChildRun("0", "CRASHED", "xlarge", out_of_memory=True)
    assert decide([top], 1, "xlarge").resources == "xlarge"


_types = st.sampled_from(["COMPLETED", "FAILED", "CRASHED", "CANCELLED", "RUNNING", "PENDING", "SCHEDULED"])


@given(st.lists(_types, max_size=8), st.integers(1, 5))
def test_never_a_second_live_run_nor_work_done_twice(found: list[str], attempt: int) -> None:
    decision = decide(runs(*found), attempt, "small")
    if decision.action == "create":
        assert not {"COMPLETED", "RUNNING", "PENDING", "SCHEDULED"} & set(found)
        # The key counts what ended, so each created run has a key of its own.
        assert decision.failures == len(found)
        assert found.count("CRASHED") <= CRASH_RETRIES + attempt


@dataclass
class FakeServer:
    """Runs that end as told, one after another; the API may fail first."""

    ends: list[str]
    outages: list[Exception] = field(default_factory=list)
    created: list[tuple[str, str, int]] = field(default_factory=list)
    found: list[ChildRun] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)


class FakeDeployments(Deployments):
    def __init__(self, server: FakeServer, attempt: int = 1) -> None:
        super().__init__("parent", attempt, pod_patience=0.0, poll_seconds=0.001)
        self.server = server

    def find(self, step: Step) -> list[ChildRun]:
        if self.server.outages:
            raise self.server.outages.pop(0)
        return list(self.server.found)

    def create(self, step: Step, decision: Decision) -> str:
        number = len(self.server.created)
        self.server.created.append((step.name, decision.resources, decision.failures))
        end = self.server.ends[number]
        self.server.found.append(ChildRun(str(number), end.split()[0], decision.resources, "oom" in end))
        return str(number)

    def read(self, run_id: str) -> Any:
        run = next(run for run in self.server.found if run.id == run_id)
        return SimpleNamespace(id=run_id, run_count=0, state=State(type=StateType(run.type), message=""))

    def reason(self, run: Any) -> str:
        return str(run.state.message)

    def diagnosis(self, run: Any) -> str:
        return "Pod is unschedulable: no node has that label."

    def cancel(self, run: Any, reason: str) -> None:
        self.server.cancelled.append(run.id)
        self.server.found = [replace(one, type="CANCELLED") for one in self.server.found]


def test_a_crash_is_tried_again_until_it_completes() -> None:
    server = FakeServer(["CRASHED", "CRASHED oom", "COMPLETED"])
    outcome = FakeDeployments(server).run(STEP)
    assert outcome.ok and outcome.flow_run_id == "2"
    assert server.created == [(STEP.name, "small", 0), (STEP.name, "small", 1), (STEP.name, "medium", 2)]


def test_a_crash_that_repeats_is_given_up() -> None:
    server = FakeServer(["CRASHED"] * 9)
    outcome = FakeDeployments(server).run(STEP)
    assert outcome.state == "Crashed"
    assert len(server.created) == 1 + CRASH_RETRIES


def test_a_step_whose_pod_cannot_start_is_ended_and_not_tried_again() -> None:
    server = FakeServer(["PENDING"])
    outcome = FakeDeployments(server).run(STEP)
    assert (outcome.state, server.cancelled) == ("Cancelled", ["0"])
    assert len(server.created) == 1


def unschedulable(why: str) -> dict[str, Any]:
    """Status of a pod for which the scheduler finds no node."""
    return {"conditions": [{"type": "PodScheduled", "reason": "Unschedulable", "message": why}]}


def not_pulled(reason: str) -> dict[str, Any]:
    return {"containerStatuses": [{"name": "prefect-job", "state": {"waiting": {"reason": reason}}}]}


NO_LABEL = unschedulable("0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector.")
NO_ROOM = unschedulable("0/2 nodes are available: 1 Insufficient cpu, 1 Insufficient memory.")


@pytest.mark.parametrize(
    ("seconds", "state", "runs", "status", "expected"),
    [
        (61, "PENDING", 0, not_pulled("ImagePullBackOff"), True),
        (61, "PENDING", 0, not_pulled("ErrImagePull"), True),
        (61, "PENDING", 0, NO_LABEL, True),
        (50, "PENDING", 0, NO_LABEL, False),
        (61, "PENDING", 0, NO_ROOM, False),
        (61, "PENDING", 0, not_pulled("ContainerCreating"), False),
        (61, "PENDING", 1, NO_LABEL, False),
        (61, "RUNNING", 1, NO_LABEL, False),
        (61, "SCHEDULED", 0, NO_LABEL, False),
    ],
)
def test_only_a_pod_that_never_ran_and_that_time_will_not_help_waits_in_vain(
    seconds: float, state: str, runs: int, status: dict[str, Any], expected: bool
) -> None:
    # The worker's own diagnosis, so that a new wording of it is noticed here.
    seen = diagnose_k8s_pod(status)
    text = f"{seen.summary}: {seen.detail}" if seen else ""
    since = datetime.now(UTC) - timedelta(seconds=seconds)
    run: Any = SimpleNamespace(run_count=runs, state=State(type=StateType(state), timestamp=since))
    assert waits_in_vain(run, 60, lambda: text) is expected


def test_a_failure_is_not_tried_again_within_one_attempt_of_the_parent() -> None:
    server = FakeServer(["FAILED"])
    assert FakeDeployments(server).run(STEP).state == "Failed"
    assert len(server.created) == 1


def test_the_parents_next_attempt_reuses_what_completed_and_repeats_what_failed() -> None:
    done = FakeServer([], found=[ChildRun("9", "COMPLETED", "small")])
    assert FakeDeployments(done, attempt=2).run(STEP).flow_run_id == "9"
    assert done.created == []
    failed = FakeServer(["COMPLETED"], found=[ChildRun("x", "FAILED", "small")])
    assert FakeDeployments(failed, attempt=2).run(STEP).ok
    assert failed.created == [(STEP.name, "small", 1)]


def test_an_outage_of_the_api_is_outlasted() -> None:
    server = FakeServer(["COMPLETED"], [httpx.ConnectError("refused"), httpx.ReadTimeout("slow")])
    assert FakeDeployments(server).run(STEP).ok


def test_other_errors_of_the_api_are_not_swallowed() -> None:
    with pytest.raises(ZeroDivisionError):
        FakeDeployments(FakeServer(["COMPLETED"], [ZeroDivisionError()])).run(STEP)


def test_patience_with_the_api_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "API_PATIENCE_SECONDS", 0.0)
    with pytest.raises(httpx.ConnectError):
        FakeDeployments(FakeServer(["COMPLETED"], [httpx.ConnectError("refused")] * 99)).run(STEP)


def test_an_abandoned_launcher_starts_nothing() -> None:
    server = FakeServer(["COMPLETED"])
    deployments = FakeDeployments(server)
    deployments.abandon(cancel=False)
    assert deployments.run(STEP).state == "Abandoned"
    assert server.created == []


def test_tags_tell_children_of_different_parents_and_steps_apart() -> None:
    pairs = itertools.product(("a", "b"), ("extract small-1", "load-bronze small-1"))
    assert len({tuple(launch.tags_of(*pair)) for pair in pairs}) == 4


@dataclass
class ManyRuns:
    """A server that gives runs in pages of 200 at most, and only those that have not been cancelled."""

    open: list[SimpleNamespace]

    def read_flow_runs(self, *, limit: int, offset: int, **_: Any) -> list[SimpleNamespace]:
        assert limit <= 200
        return [run for run in self.open if run.state.type.value == "RUNNING"][offset : offset + limit]

    def set_flow_run_state(self, run_id: int, state: State[Any]) -> None:
        self.open[run_id].state = state


@pytest.fixture
def many_runs(monkeypatch: pytest.MonkeyPatch) -> ManyRuns:
    made = ManyRuns(
        [
            SimpleNamespace(id=number, state=State(type=StateType.RUNNING), tags=["class:small"], run_count=1)
            for number in range(450)
        ]
    )
    monkeypatch.setattr("prefect.client.orchestration.get_client", lambda *, sync_client: made)
    return made


def test_the_runs_of_a_step_are_found_and_cancelled_beyond_the_first_page(many_runs: ManyRuns) -> None:
    assert len(Deployments("parent", 1, 900.0).find(STEP)) == 450
    assert launch.cancel_runs(["parent:x"], "over") == 450
    assert {run.state.type for run in many_runs.open} == {StateType.CANCELLING}
