"""The cluster as the tests see it: kubectl, ports forwarded to this machine, Prefect's client, source and bronze."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

from prefect.events.schemas.automations import AutomationCore

ROOT = Path(__file__).parents[2]
NAMESPACE = "warehouse-test"
FLOW_PODS = "warehouse/role=flow-run"
# Kills, from the node, the processes of a flow run: the first of a container can be killed from outside alone.
KILL_RUN = """
import os, signal, sys
for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdigit()):
    try:
        with open(f"/proc/{pid}/environ", "rb") as environment:
            if f"PREFECT__FLOW_RUN_ID={sys.argv[1]}".encode() in environment.read():
                os.kill(pid, signal.SIGKILL)
    except OSError:
        pass  # ended meanwhile, or of the kernel
"""

_Found = TypeVar("_Found")


def until(what: str, look: Callable[[], _Found | None], seconds: float = 180.0, every: float = 1.0) -> _Found:
    """Return the first truthy answer; fail, saying what was awaited, when none comes in time."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:.0f} s: {what}")
        time.sleep(every)


def kubectl(*arguments: str, given: str | None = None, check: bool = True, namespace: str = NAMESPACE) -> str:
    """Run kubectl in the test namespace and return what it prints."""
    command = ["kubectl", "--namespace", namespace, *arguments]
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=300, check=False)
    assert not check or done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout


def rendered(image: str, services: str) -> str:
    """Return the local overlay with the images, namespace and sources of the tests."""
    text = kubectl("kustomize", str(ROOT / "infra/kubernetes/overlays/local"))
    text = text.replace("localhost/warehouse-services:local", services).replace("localhost/warehouse:local", image)
    text = re.sub(r"^(\s*(?:- )?namespace): warehouse$", rf"\1: {NAMESPACE}", text, flags=re.MULTILINE)
    text = re.sub(r"^(kind: Namespace\n(?:.*\n)*?  name): warehouse$", rf"\1: {NAMESPACE}", text, flags=re.MULTILINE)
    sources = (ROOT / "tests/kubernetes/sources.yaml").read_text()
    document = json.dumps(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "warehouse-sources", "namespace": NAMESPACE},
            "data": {"sources.yaml": sources},
        }
    )
    parts = [
        part for part in text.split("\n---\n") if "name: warehouse-sources\n" not in part or "ConfigMap" not in part
    ]
    return "\n---\n".join([*parts, document])


class Forward:
    """A port of a Service on this machine, connected again whenever the pod behind it changed."""

    def __init__(self, service: str, port: int) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self._command = [
            "kubectl",
            "--namespace",
            NAMESPACE,
            "port-forward",
            f"service/{service}",
            f"{self.port}:{port}",
        ]
        self._closed = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self._thread.start()

    def _keep(self) -> None:
        while not self._closed.is_set():
            self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            self._process.wait()
            self._closed.wait(1)

    def reconnect(self) -> None:
        """Connect anew: kubectl keeps a dead connection until it is used."""
        if self._process is not None:
            self._process.kill()

    def close(self) -> None:
        """Stop forwarding."""
        self._closed.set()
        self.reconnect()
        self._thread.join(10)


class Cluster:
    """A warehouse in the test namespace."""

    def __init__(self) -> None:
        self.forwards = {
            "prefect-server": Forward("prefect-server", 4200),
            "mongodb": Forward("mongodb", 27017),
            "postgres": Forward("postgres", 5432),
        }

    def close(self) -> None:
        """Close every forwarded port."""
        for forward in self.forwards.values():
            forward.close()

    # -- source and bronze ------------------------------------------------------------------------------------

    @property
    def mongodb_uri(self) -> str:
        """Address of the source from here."""
        return f"mongodb://127.0.0.1:{self.forwards['mongodb'].port}/?directConnection=true"

    @contextmanager
    def postgres(self, database: str = "warehouse") -> Iterator[Any]:
        """Connection to the warehouse, or to Prefect's own database."""
        import psycopg

        url = f"postgresql://postgres:local-only@127.0.0.1:{self.forwards['postgres'].port}/{database}"
        connection = until(
            "a connection to Postgres", lambda: _try(lambda: psycopg.connect(url, connect_timeout=5)), 60
        )
        try:
            yield connection
        finally:
            connection.close()

    def fill(self, collection: str, documents: int, text: str) -> None:
        """Replace a collection of the faults database."""
        from pymongo import MongoClient

        with MongoClient(self.mongodb_uri) as client:
            target = client["faults"][collection]
            target.drop()
            target.insert_many({"_id": n, "text": f"{text} {n}", "half": n / 2} for n in range(documents))

    def source(self, collection: str) -> set[tuple[str, str, float]]:
        """Return the collection's documents."""
        from pymongo import MongoClient

        with MongoClient(self.mongodb_uri) as client:
            return {(str(d["_id"]), d["text"], d["half"]) for d in client["faults"][collection].find()}

    def bronze(self, table: str) -> list[tuple[str, str, float]]:
        """Return the live rows of a bronze table."""
        with self.postgres() as connection:
            query = f'select _id, text, half from bronze."{table}" where _deleted_at is null'
            return list(connection.execute(query))

    def assert_equal(self, table: str) -> None:
        """Check that bronze holds exactly what the source does, each row once."""
        rows = self.bronze(table)
        assert len(rows) == len(set(rows))
        assert set(rows) == self.source(table.partition("__")[2])

    def log(self, run_id: UUID) -> list[dict[str, Any]]:
        """Return the rows of monitoring.pipeline_log of a pipeline run and its children."""
        from psycopg.rows import dict_row

        with self.postgres() as connection:
            query = "select * from monitoring.pipeline_log where %s in (flow_run_id::text, parent_run_id::text)"
            return list(connection.cursor(row_factory=dict_row).execute(query, [str(run_id)]))

    # -- runs --------------------------------------------------------------------------------------------------

    @contextmanager
    def client(self) -> Iterator[Any]:
        """Prefect's synchronous client."""
        from prefect.client.orchestration import SyncPrefectClient

        with SyncPrefectClient(f"http://127.0.0.1:{self.forwards['prefect-server'].port}/api") as client:
            yield client

    def ask(self, call: Callable[[Any], _Found]) -> _Found:
        """Call the API, however often the server was restarted meanwhile."""

        def once() -> tuple[_Found] | None:
            def called() -> tuple[_Found]:
                with self.client() as client:
                    return (call(client),)

            found = _try(called)
            if found is None:
                self.forwards["prefect-server"].reconnect()
            return found

        return until("an answer of the Prefect API", once, 180)[0]

    def start(self, tables: list[str], models: bool = False) -> UUID:
        """Start a pipeline run."""
        return self.start_deployment("pipeline/default", tables=tables, models=models)

    def start_deployment(self, name: str, **parameters: Any) -> UUID:
        """Start a run of a deployment, as its schedule would."""

        def create(client: Any) -> UUID:
            deployment = client.read_deployment_by_name(name)
            run = client.create_flow_run_from_deployment(deployment.id, parameters=parameters)
            return UUID(str(run.id))

        return self.ask(create)

    def run(self, run_id: UUID) -> Any:
        """Return a flow run."""
        return self.ask(lambda client: client.read_flow_run(run_id))

    def states(self, run_id: UUID) -> list[Any]:
        """Return the states that a run has had, oldest first."""
        return self.ask(lambda client: client.read_flow_run_states(run_id))

    def children(self, run_id: UUID) -> list[Any]:
        """Return the runs that a pipeline run started, oldest first."""
        from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterTags
        from prefect.client.schemas.sorting import FlowRunSort

        wanted = FlowRunFilter(tags=FlowRunFilterTags(all_=[f"parent:{run_id}"]))
        order = FlowRunSort.EXPECTED_START_TIME_ASC
        return self.ask(lambda client: client.read_flow_runs(flow_run_filter=wanted, sort=order, limit=100))

    def child(self, run_id: UUID, step: str, state: str = "RUNNING", seconds: float = 180) -> Any:
        """Wait for a child whose step starts so to be in a state, and return it."""

        def look() -> Any:
            found = [run for run in self.children(run_id) if f"step:{step}" in " ".join(run.tags)]
            return next((run for run in found if run.state.type.value == state), None)

        return until(f"a run of {step} that is {state}", look, seconds)

    def end(self, run_id: UUID, seconds: float = 420) -> Any:
        """Wait for a run's end and return it."""

        def look() -> Any:
            run = self.run(run_id)
            return run if run.state.is_final() else None

        return until(f"the end of run {run_id}", look, seconds, 2)

    def assert_done(self, run_id: UUID) -> None:
        """Check that a pipeline run and the last run of each of its steps completed, and that none is left over."""
        run = self.end(run_id)
        children = self.children(run_id)
        told = {child.name: (child.state.name, child.state.message) for child in children}
        assert run.state.name == "Completed", (run.state.message, told)
        assert all(child.state.is_final() for child in children), told

    def assert_nothing_runs(self) -> None:
        """Check that no flow pod is left."""
        alive = f"{FLOW_PODS}"
        until("an end of all flow pods", lambda: not self.pods(alive, phases=("Running", "Pending")), 120)

    # -- pods --------------------------------------------------------------------------------------------------

    def pods(self, selector: str, phases: tuple[str, ...] = ("Running",)) -> list[dict[str, Any]]:
        """Return the pods with these labels in these phases."""
        items = json.loads(kubectl("get", "pods", "-l", selector, "-o", "json"))["items"]
        return [item for item in items if item["status"].get("phase") in phases]

    def pod_of(self, run_id: UUID) -> str:
        """Wait for the pod of a flow run and return its name."""
        found = until(f"a pod of {run_id}", lambda: self.pods(f"prefect.io/flow-run-id={run_id}"))
        return str(found[0]["metadata"]["name"])

    def evict(self, pod: str) -> None:
        """Ask Kubernetes to evict a pod, as a drain does."""
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": NAMESPACE}}
        path = f"/api/v1/namespaces/{NAMESPACE}/pods/{pod}/eviction"
        kubectl("create", "--raw", path, "-f", "-", given=json.dumps(body))

    def kill_from_the_node(self, run_id: UUID) -> None:
        """Kill a flow pod as the loss of its node does: nothing in it can tell anyone; needs a privileged pod."""
        self.pod_of(run_id)
        [victim] = self.pods(f"prefect.io/flow-run-id={run_id}")
        [container] = victim["spec"]["containers"]
        killer = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": f"kill-{run_id}"},
            "spec": {
                "hostPID": True,
                "nodeName": victim["spec"]["nodeName"],
                "restartPolicy": "Never",
                "containers": [
                    {
                        "name": "kill",
                        "image": container["image"],
                        "imagePullPolicy": container["imagePullPolicy"],
                        "command": ["python", "-c", KILL_RUN, str(run_id)],
                        "securityContext": {"runAsUser": 0, "privileged": True},
                    }
                ],
            },
        }
        name = f"pod/kill-{run_id}"
        # Not in the namespace of the tests: that one allows no such pod.
        kubectl("apply", "-f", "-", given=json.dumps(killer), namespace="default")
        try:
            kubectl("wait", name, "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s", namespace="default")
        finally:
            kubectl("delete", name, "--wait=false", namespace="default")
        until("the end of the killed pod", lambda: not self.pods(f"prefect.io/flow-run-id={run_id}"), 30)

    def roll_out(self, *deployments: str) -> None:
        """Wait until deployments are available."""
        for name in deployments:
            kubectl("rollout", "status", f"deployment/{name}", "--timeout=280s")

    def scale(self, deployment: str, replicas: int) -> None:
        """Set the replicas of a deployment and wait for them."""
        kubectl("scale", f"deployment/{deployment}", f"--replicas={replicas}")
        if replicas:
            self.roll_out(deployment)
        else:
            selector = f"app.kubernetes.io/name={deployment}"
            until(f"no pod of {deployment}", lambda: not self.pods(selector, phases=("Running", "Pending")), 120)

    @contextmanager
    def job_variables(self, name: str, **changed: Any) -> Iterator[None]:
        """Change the job variables of a deployment for a while."""
        from prefect.client.schemas.actions import DeploymentUpdate

        before = self.ask(lambda client: client.read_deployment_by_name(name))

        def update(values: dict[str, Any]) -> None:
            self.ask(lambda client: client.update_deployment(before.id, DeploymentUpdate(job_variables=values)))

        update({**before.job_variables, **changed})
        try:
            yield
        finally:
            update(before.job_variables)

    @contextmanager
    def zombies_after(self, seconds: float) -> Iterator[None]:
        """Let the zombie automation wait less than in production, for a while; more than a heartbeat (30 s here)."""
        [before] = self.ask(lambda client: client.read_automations_by_name("warehouse: zombies"))

        def update(within: timedelta) -> None:
            whole = before.model_dump(mode="json", exclude={"id", "owner_resource"})
            whole["trigger"]["within"] = within.total_seconds()
            self.ask(lambda client: client.update_automation(before.id, AutomationCore.model_validate(whole)) or True)

        update(timedelta(seconds=seconds))
        try:
            yield
        finally:
            update(before.trigger.within)


def _try(call: Callable[[], _Found]) -> _Found | None:
    import httpx
    import psycopg
    from prefect.exceptions import PrefectHTTPStatusError

    try:
        return call()
    except PrefectHTTPStatusError as error:
        if error.response.status_code < 500:
            raise
        return None
    except (httpx.TransportError, psycopg.OperationalError):
        return None
