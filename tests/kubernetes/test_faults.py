"""What clusters do to pods, each time with the result checked against the source."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from flows.reaper import MOST_STARTS
from tests.kubernetes.cluster import FLOW_PODS, Cluster, kubectl, until

# SIGKILL to every process of a container but its first, which its own kernel namespace protects.
KILL_ALL = """
import os, signal
for name in os.listdir("/proc"):
    if name.isdigit() and int(name) not in (1, os.getpid()):
        os.kill(int(name), signal.SIGKILL)
"""
LETTERS = 4_000  # 16 s at the source's 250 documents a second
SHEETS = 9_000  # three ranges of 12 s each


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
    same, *more = runs_of(cluster, slow_run, "extract")
    states = [(state.name, state.message) for state in cluster.states(extract.id)]
    assert same.id == extract.id and "AwaitingRetry" in dict(states), states
    # The worker can take the end of the first pod for that of the second start, which then counts as crashed.
    assert (same.run_count, len(more)) in ((2, 0), (2, 1)) and (not more or same.state.is_crashed()), states
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


def test_a_killed_parent_is_started_again_and_finds_its_children(cluster: Cluster, slow_run: UUID) -> None:
    [extract] = runs_of(cluster, slow_run, "extract")
    kubectl("exec", cluster.pod_of(slow_run), "--", "python", "-c", KILL_ALL)
    until("the parent's crash", lambda: cluster.run(slow_run).state.name == "Crashed", 90)
    # By the automation, the reaper, and the worker.
    until("the parent's second start", lambda: cluster.run(slow_run).run_count == 2, 240)
    cluster.assert_done(slow_run)
    steps = [run.name for run in cluster.children(slow_run)]
    assert len(steps) == len(set(steps)), "a step was run twice"
    [same] = runs_of(cluster, slow_run, "extract")
    assert (same.id, same.run_count) == (extract.id, 1)
    cluster.assert_equal("slow__letters")


def test_a_parent_that_died_unseen_and_too_often_leaves_nothing_behind(cluster: Cluster) -> None:
    cluster.fill("letters", 10 * LETTERS, "left behind")
    with cluster.zombies_after(50):
        run_id = cluster.start(["slow"])
        extract = cluster.child(run_id, "extract")
        with cluster.postgres("prefect") as connection:
            # As if it had been started again before, as often as the reaper allows.
            connection.execute("update flow_run set run_count = %s where id = %s", [MOST_STARTS, run_id])
            connection.commit()
        # Nobody sees the pod end: the only sign is that its heartbeats stop.
        cluster.scale("prefect-worker", 0)
        cluster.kill_from_the_node(run_id)
        assert cluster.run(run_id).state.name == "Running"
        dead = cluster.end(run_id, 180)
        assert dead.state.name == "Crashed"
        assert "no heartbeat" in dead.state.message
        cluster.scale("prefect-worker", 1)
        assert cluster.end(extract.id, 180).state.name == "Cancelled"
    cluster.assert_nothing_runs()
    assert cluster.run(run_id).run_count == MOST_STARTS, "it was started once more"
    assert all(child.state.is_final() for child in cluster.children(run_id))
    # Its own report never ran; the hourly one writes its rows.
    assert cluster.end(cluster.start_deployment("monitoring/small")).state.name == "Completed"
    logged = {row["flow_run_id"]: row for row in cluster.log(run_id) if not row["table_name"]}
    assert "no heartbeat" in logged[run_id]["error_message"]
    assert (logged[run_id]["state"], logged[extract.id]["state"]) == ("Crashed", "Cancelled")
    cluster.fill("letters", 500, "after it")
    cluster.assert_done(cluster.start(["slow"]))
    cluster.assert_equal("slow__letters")


def test_a_drained_node_gives_the_run_back_when_it_returns(cluster: Cluster, slow_run: UUID) -> None:
    [extract] = runs_of(cluster, slow_run, "extract")
    node = cluster.pods(f"prefect.io/flow-run-id={extract.id}")[0]["spec"]["nodeName"]
    kubectl("drain", node, f"--pod-selector={FLOW_PODS}", "--delete-emptydir-data", "--force", "--timeout=120s")
    # Of the parent: an extract that is told to go as it starts has none of its own before the parent asks for it again.
    waiting = f"prefect.io/flow-run-id={slow_run}"
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


def test_ranges_are_read_by_pods_of_their_own_and_only_a_killed_one_is_read_again(cluster: Cluster) -> None:
    cluster.fill("sheets", SHEETS, "sheet")
    # Three of the real size would not find room on a small node.
    small = {"cpu_request": "100m", "memory_request": "512Mi", "memory_limit": "512Mi"}
    with (
        cluster.job_variables("extract/large", **small),
        # Where a killed one goes: the kernel kills for memory by the same signal.
        cluster.job_variables("extract/xlarge", **small),
        cluster.job_variables("load-bronze/large", **small),
    ):
        run_id = cluster.start(["wide"])
        second = cluster.child(run_id, "extract large-wide-sheets-2of3")
        kubectl("exec", cluster.pod_of(second.id), "--", "python", "-c", KILL_ALL)
        cluster.assert_done(run_id)
    ends = [
        [run.state.name for run in runs_of(cluster, run_id, f"extract large-wide-sheets-{n}of3")] for n in (1, 2, 3)
    ]
    assert ends == [["Completed"], ["Crashed", "Completed"], ["Completed"]]
    # One began while the ranges were read; it is the only one unless the killed pod left a file behind.
    loads = runs_of(cluster, run_id, "load-bronze")
    assert loads and {run.state.name for run in loads} == {"Completed"}
    cluster.assert_equal("wide__sheets")
    rows = [row for row in cluster.log(run_id) if row["stage"] == "extract" and row["table_name"]]
    read = [row["rows_read"] for row in rows if row["state"] == "Completed"]
    assert len(read) == 3 and all(read) and sum(read) == SHEETS
    with cluster.postgres() as connection:
        batches = connection.execute("select rows_landed from ops.batches where source = 'wide'").fetchall()
    assert batches == [(SHEETS,)]


def test_an_extract_out_of_memory_gets_the_next_class(cluster: Cluster) -> None:
    cluster.fill("numbers", 200, "after a kill")
    with cluster.job_variables("extract/small", memory_request="96Mi", memory_limit="96Mi"):
        run_id = cluster.start(["quick.numbers"])
        cluster.assert_done(run_id)
    first, second = runs_of(cluster, run_id, "extract")
    assert first.state.name == "Crashed"
    assert "class:small" in first.tags
    assert "class:medium" in second.tags
    [logged] = [row for row in cluster.log(run_id) if row["flow_run_id"] == first.id and not row["table_name"]]
    assert (logged["state"], logged["error_class"]) == ("Crashed", "out_of_memory")
    assert "OOMKilled" in logged["error_message"]
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
    with cluster.job_variables("extract/small", **changed):
        run_id = cluster.start(["quick.numbers"])
        run = cluster.end(run_id)
    assert run.state.name == "Failed"
    assert reason in run.state.message.lower()
    # One run, ended by its parent after the patience of the local overlay (30 s) and its server's time-out (35 s), long
    # before its deadline of hours.
    [extract] = runs_of(cluster, run_id, "extract")
    assert (extract.state.name, extract.run_count) == ("Cancelled", 0)
    assert not cluster.pods(f"prefect.io/flow-run-id={extract.id}", phases=("Pending", "Running"))
    [logged] = [row for row in cluster.log(run_id) if row["flow_run_id"] == extract.id and not row["table_name"]]
    assert reason in logged["error_message"].lower()
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
