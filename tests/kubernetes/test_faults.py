"""What clusters do to pods, each time with the result checked against the source."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from tests.kubernetes.cluster import FLOW_PODS, Cluster, kubectl, until

# SIGKILL to every process of a container but its first, which its own kernel namespace protects.
KILL_ALL = """
import os, signal
for name in os.listdir("/proc"):
    if name.isdigit() and int(name) not in (1, os.getpid()):
        os.kill(int(name), signal.SIGKILL)
"""
LETTERS = 4_000  # 16 s at the source's 250 documents a second


@pytest.fixture
def slow_run(cluster: Cluster, request: pytest.FixtureRequest) -> UUID:
    """A pipeline run that is in the middle of its extract; its documents differ from all that was loaded before."""
    cluster.fill("letters", LETTERS, request.node.name)
    run_id = cluster.start(["slow"])
    cluster.child(run_id, "extract")
    return run_id


def runs_of(cluster: Cluster, run_id: UUID, step: str) -> list[Any]:
    return [run for run in cluster.children(run_id) if f"step:{step}" in " ".join(run.tags)]


def terminate(cluster: Cluster, pod: str) -> None:
    kubectl("delete", "pod", pod, "--wait=false")


def evict(cluster: Cluster, pod: str) -> None:
    cluster.evict(pod)


@pytest.mark.parametrize("leave", [terminate, evict])
def test_an_extract_that_must_leave_starts_again_as_the_same_run(
    cluster: Cluster, slow_run: UUID, leave: Callable[[Cluster, str], None]
) -> None:
    [extract] = runs_of(cluster, slow_run, "extract")
    leave(cluster, cluster.pod_of(extract.id))
    cluster.assert_done(slow_run)
    [again] = runs_of(cluster, slow_run, "extract")
    assert (again.id, again.run_count) == (extract.id, 2)
    cluster.assert_equal("slow__letters")


def test_a_load_that_must_leave_loads_once(cluster: Cluster) -> None:
    cluster.fill("numbers", 300, "first")
    cluster.assert_done(cluster.start(["quick.numbers"]))
    cluster.fill("numbers", 400, "second")
    with cluster.postgres() as blocker:
        blocker.execute("lock table bronze.quick__numbers in access exclusive mode")
        run_id = cluster.start(["quick.numbers"])
        load = cluster.child(run_id, "load-bronze")
        cluster.evict(cluster.pod_of(load.id))
        until("the load's second start", lambda: cluster.run(load.id).run_count == 2, 120)
        blocker.rollback()
    cluster.assert_done(run_id)
    assert len(runs_of(cluster, run_id, "load-bronze")) == 1
    cluster.assert_equal("quick__numbers")


def test_a_parent_that_must_leave_finds_its_children_again(cluster: Cluster, slow_run: UUID) -> None:
    [extract] = runs_of(cluster, slow_run, "extract")
    cluster.evict(cluster.pod_of(slow_run))
    cluster.assert_done(slow_run)
    assert cluster.run(slow_run).run_count == 2
    steps = [run.name for run in cluster.children(slow_run)]
    assert len(steps) == len(set(steps)), "a step was run twice"
    [same] = runs_of(cluster, slow_run, "extract")
    assert (same.id, same.run_count) == (extract.id, 1)
    cluster.assert_equal("slow__letters")


def test_a_drained_node_gives_the_run_back_when_it_returns(cluster: Cluster, slow_run: UUID) -> None:
    [extract] = runs_of(cluster, slow_run, "extract")
    node = cluster.pods(f"prefect.io/flow-run-id={extract.id}")[0]["spec"]["nodeName"]
    kubectl("drain", node, f"--pod-selector={FLOW_PODS}", "--delete-emptydir-data", "--force", "--timeout=120s")
    waiting = f"prefect.io/flow-run-id={extract.id}"
    until("a new pod that waits for a node", lambda: cluster.pods(waiting, phases=("Pending",)), 120)
    kubectl("uncordon", node)
    cluster.assert_done(slow_run)
    cluster.assert_equal("slow__letters")


def test_a_killed_extract_is_started_again_as_a_new_run(cluster: Cluster, slow_run: UUID) -> None:
    [extract] = runs_of(cluster, slow_run, "extract")
    kubectl("exec", cluster.pod_of(extract.id), "--", "python", "-c", KILL_ALL)
    cluster.assert_done(slow_run)
    first, second = runs_of(cluster, slow_run, "extract")
    assert first.state.name == "Crashed"
    assert second.state.name == "Completed"
    cluster.assert_equal("slow__letters")


def test_an_extract_out_of_memory_gets_the_next_class(cluster: Cluster) -> None:
    cluster.fill("numbers", 200, "after a kill")
    with cluster.job_variables("extract/small", memory_request="96Mi", memory_limit="96Mi"):
        run_id = cluster.start(["quick.numbers"])
        cluster.assert_done(run_id)
    first, second = runs_of(cluster, run_id, "extract")
    assert first.state.name == "Crashed"
    assert "class:small" in first.tags
    assert "class:medium" in second.tags
    cluster.assert_equal("quick__numbers")


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"image": "localhost/there-is-no-such-image:1"}, "pull"),
        ({"node_selector": {"no-node": "has-this"}}, "schedul"),
    ],
    ids=["image", "unschedulable"],
)
def test_a_pod_that_cannot_start_fails_the_run_with_the_reason(
    cluster: Cluster, changed: dict[str, Any], reason: str
) -> None:
    cluster.fill("numbers", 100, f"never {reason}")
    with cluster.job_variables("extract/small", active_deadline_seconds=60, **changed):
        run_id = cluster.start(["quick.numbers"])
        run = cluster.end(run_id, 540)
    assert run.state.name == "Failed"
    extracts = runs_of(cluster, run_id, "extract")
    assert {child.state.name for child in extracts} == {"Crashed"}
    logged = [row for row in cluster.log(run_id) if row["flow_run_id"] == extracts[0].id]
    assert any(reason in row["error_message"].lower() for row in logged)
    assert reason in run.state.message.lower()
    cluster.assert_done(cluster.start(["quick.numbers"]))
    cluster.assert_equal("quick__numbers")


def test_runs_go_on_without_a_worker(cluster: Cluster, slow_run: UUID) -> None:
    worker = cluster.pods("app.kubernetes.io/name=prefect-worker")[0]["metadata"]["name"]
    kubectl("delete", "pod", worker, "--grace-period=0", "--force")
    cluster.assert_done(slow_run)
    assert len(runs_of(cluster, slow_run, "extract")) == 1
    cluster.assert_equal("slow__letters")


def test_runs_outlive_a_minute_without_the_server(cluster: Cluster, slow_run: UUID) -> None:
    cluster.scale("prefect-server", 0)
    until_seconds(60)
    cluster.scale("prefect-server", 1)
    cluster.assert_done(slow_run)
    steps = [run.name for run in cluster.children(slow_run)]
    assert len(steps) == len(set(steps)), "a step was run twice"
    cluster.assert_equal("slow__letters")


def until_seconds(seconds: float) -> None:
    """Let the outage last: the time itself is what is tested."""
    import time

    time.sleep(seconds)


def test_a_landing_that_is_down_fails_the_run_and_the_next_heals(cluster: Cluster) -> None:
    cluster.fill("numbers", 150, "while the landing was down")
    cluster.scale("objects", 0)
    run_id = cluster.start(["quick.numbers"])
    run = cluster.end(run_id)
    assert run.state.name == "Failed"
    extract = [row for row in cluster.log(run_id) if row["stage"] == "extract" and row["table_name"] == "numbers"]
    assert [row["state"] for row in extract] == ["Failed"]
    assert extract[0]["error_message"]
    cluster.scale("objects", 1)
    cluster.assert_done(cluster.start(["quick.numbers"]))
    cluster.assert_equal("quick__numbers")


def test_a_cancelled_run_leaves_no_pod(cluster: Cluster, slow_run: UUID) -> None:
    from prefect.states import Cancelling

    cluster.ask(lambda client: client.set_flow_run_state(slow_run, Cancelling()))
    assert cluster.end(slow_run, 120).state.name == "Cancelled"
    cluster.assert_nothing_runs()
    until("the end of its children", lambda: all(child.state.is_final() for child in cluster.children(slow_run)), 120)
    cluster.assert_done(cluster.start(["slow"]))
    cluster.assert_equal("slow__letters")
