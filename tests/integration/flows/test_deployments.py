"""The same pipeline as runs of deployments, by a real worker: nothing is passed but names, nothing is done twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId, FlowRunFilter, FlowRunFilterTags
from prefect.client.schemas.objects import FlowRun
from prefect.events.schemas.automations import AutomationCore

from flows import deploy

pytestmark = pytest.mark.slow

if TYPE_CHECKING:
    from conftest import Shop

# A run of a deployment starts two Python processes that import Prefect; a busy machine takes its time for that.
_PATIENCE = 420.0


@pytest.fixture(autouse=True)
def no_deployment_stays(prefect_server: str) -> Iterator[None]:
    """Delete what was deployed: schedules and automations would add runs to the history that other tests look at."""
    yield
    with get_client(sync_client=True) as client:
        for automation in client.read_automations():
            client.delete_automation(automation.id)
        for deployment in client.read_deployments():
            client.delete_deployment(deployment.id)


@pytest.fixture
def worker(shop: Shop, prefect_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A process worker of a work pool of its own, to which everything is deployed."""
    pool = f"test-{os.getpid()}"
    environment = {"WAREHOUSE_WORK_POOL": pool}
    deploy.deploy(say=lambda line: None, environment=environment)
    log = (tmp_path / "worker.log").open("wb")
    process = subprocess.Popen(
        [sys.executable, "-m", "prefect", "worker", "start", "--pool", pool, "--type", "process"],
        cwd=tmp_path,
        stdout=log,
        stderr=subprocess.STDOUT,
        env={**os.environ, "PREFECT_WORKER_QUERY_SECONDS": "1", "PREFECT_API_URL": prefect_server},
    )
    yield pool
    process.send_signal(signal.SIGINT)
    try:
        process.wait(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    log.close()


def start(parameters: dict[str, Any]) -> UUID:
    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name("pipeline/default")
        return client.create_flow_run_from_deployment(deployment.id, parameters=parameters).id


def children(parent: UUID) -> list[FlowRun]:
    with get_client(sync_client=True) as client:
        wanted = FlowRunFilter(tags=FlowRunFilterTags(all_=[f"parent:{parent}"]))
        return client.read_flow_runs(flow_run_filter=wanted)


def wait_for(run_id: UUID, done: Callable[[FlowRun], bool]) -> FlowRun:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        with get_client(sync_client=True) as client:
            run = client.read_flow_run(run_id)
        if done(run):
            return run
        time.sleep(0.5)
    raise AssertionError(f"run {run_id} is {run.state} after {_PATIENCE} s")


def wait_for_schedule(name: str) -> bool:
    """Return whether the server makes runs of a deployment's schedule; it looks once a minute."""
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        with get_client(sync_client=True) as client:
            wanted = DeploymentFilter(id=DeploymentFilterId(any_=[client.read_deployment_by_name(name).id]))
            runs = client.read_flow_runs(deployment_filter=wanted)
        if any(run.auto_scheduled for run in runs):
            return True
        time.sleep(1)
    return False


def is_final(run: FlowRun) -> bool:
    return run.state is not None and run.state.is_final()


@pytest.mark.timeout(1200)
def test_a_killed_pipeline_goes_on_with_the_children_it_had(shop: Shop, worker: str) -> None:
    from flows.reaper import reaper

    run_id = start({"models": False})
    # The extract exists: the parent is killed while it waits for it.
    wait_for(run_id, lambda run: is_final(run) or bool(children(run_id)))
    with get_client(sync_client=True) as client:
        pid = client.read_flow_run(run_id).infrastructure_pid
    assert pid is not None
    os.kill(int(pid.rpartition(":")[2]), signal.SIGKILL)
    crashed = wait_for(run_id, is_final)
    assert crashed.state is not None and crashed.state.is_crashed(), crashed.state
    # The automation for crashes does the same a little later, and finds nothing left to do.
    assert reaper(run=str(run_id), return_state=True).is_completed()

    finished = wait_for(run_id, lambda run: is_final(run) and run.run_count > crashed.run_count)
    assert finished.state is not None and finished.state.is_completed(), finished.state
    assert (shop.count("shop__orders"), shop.count("shop__tags")) == (200, 7)
    names = [run.name for run in children(run_id)]
    assert sorted(names) == ["extract small-1", "load-bronze small-1", "monitoring"]
    assert shop.query("select count(*) from ops.batches") == [(2,)]
    for run in children(run_id):
        data = [value for value in run.parameters.values() if isinstance(value, dict)]
        assert not data, f"{run.name} was given more than names"


@pytest.mark.timeout(900)
def test_a_failing_child_fails_its_parent_and_a_cancelled_parent_takes_its_children_along(
    shop: Shop, worker: str
) -> None:
    from prefect.states import Cancelled

    from flows.reaper import reaper

    shop.write_sources(tags="{mode: full}", ghosts="{collection: nowhere}")
    failed = wait_for(start({"models": False}), is_final)
    assert failed.state is not None and failed.state.is_failed()
    assert "shop.ghosts: MissingCollection" in (failed.state.message or "")
    assert shop.count("shop__tags") == 7

    run_id = start({"models": False})
    wait_for(run_id, lambda run: is_final(run) or bool(children(run_id)))
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run_id, Cancelled(), force=True)
    assert reaper(run=str(run_id), return_state=True).is_completed()
    for child in children(run_id):
        ended = wait_for(child.id, is_final)
        assert ended.state is not None and ended.state.type.value in ("CANCELLED", "COMPLETED", "FAILED")


def test_deploying_twice_changes_nothing_and_a_change_is_shown(
    shop: Shop, prefect_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    environment = {"WAREHOUSE_WORK_POOL": "test-twice"}
    first = deploy.deploy(say=said.append, environment=environment)
    assert {change.kind for change in first} == {
        "work pool", "block type", "concurrency limit", "deployment", "automation",
    }  # fmt: skip
    again = deploy.deploy(say=said.append, environment=environment)
    assert [change for change in again if change.action != "unchanged"] == []
    with get_client(sync_client=True) as client:
        (zombies,) = client.read_automations_by_name("warehouse: zombies")
        fields = set(AutomationCore.model_fields) - {"owner_resource"}
        by_hand = zombies.model_dump(mode="json", include=fields) | {"description": "mine"}
        client.update_automation(zombies.id, AutomationCore.model_validate(by_hand))
    mended = [c for c in deploy.deploy(say=said.append, environment=environment) if c.action != "unchanged"]
    assert [(change.name, change.action) for change in mended] == [("warehouse: zombies", "update")]
    assert "description: mine -> " in mended[0].details[0]
    assert wait_for_schedule("pipeline/default")
    moved = deploy.deploy(dry_run=True, say=said.append, environment={**environment, "WAREHOUSE_CODE": "/elsewhere"})
    changed = [change for change in moved if change.action != "unchanged"]
    assert {change.kind for change in changed} == {"deployment"}
    assert len(changed) == sum(change.kind == "deployment" for change in first)
    assert "/elsewhere" in changed[0].details[0]
    assert [c for c in deploy.deploy(say=said.append, environment=environment) if c.action != "unchanged"] == []
