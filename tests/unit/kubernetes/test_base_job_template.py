"""The base job template against prefect-kubernetes' own models: what the worker will really make of it."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import Any
from unittest.mock import AsyncMock

import jsonschema
import pytest

from infra.kubernetes.template import base_job_template
from tasks.resources import CLASSES


def render(job_variables: dict[str, Any], environment: dict[str, str] | None = None) -> dict[str, Any]:
    """Return the Job that the worker would create for a flow run with these job variables."""
    from prefect.client.schemas.objects import FlowRun
    from prefect_kubernetes.worker import KubernetesWorkerJobConfiguration

    # The template refers to no block and no variable, so the API is never asked.
    client = AsyncMock()

    async def configuration() -> Any:
        template = base_job_template(environment or {})
        jsonschema.validate(job_variables, template["variables"])
        return await KubernetesWorkerJobConfiguration.from_template_and_values(template, job_variables, client=client)

    made = asyncio.run(configuration())
    assert not client.mock_calls
    made.prepare_for_flow_run(FlowRun(id=uuid.uuid4(), flow_id=uuid.uuid4(), name="Small 1"))
    manifest: dict[str, Any] = made.job_manifest
    return manifest


def container(job: dict[str, Any]) -> dict[str, Any]:
    [only] = job["spec"]["template"]["spec"]["containers"]
    found: dict[str, Any] = only
    return found


def environment_of(job: dict[str, Any]) -> dict[str, Any]:
    return {entry["name"]: entry for entry in container(job)["env"]}


def test_defaults_make_a_safe_pod() -> None:
    job = render({})
    pod = job["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert container(job)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {mount["mountPath"] for mount in container(job)["volumeMounts"]} == {"/tmp", "/etc/warehouse"}
    assert pod["terminationGracePeriodSeconds"] == 60
    assert pod["priorityClassName"] == "warehouse-flow-run"
    assert job["spec"]["activeDeadlineSeconds"] == 21600
    assert job["spec"]["ttlSecondsAfterFinished"] == 14400


def test_eviction_reschedules_instead_of_a_second_pod_of_kubernetes() -> None:
    job = render({})
    assert job["spec"]["backoffLimit"] == 0
    assert "podFailurePolicy" not in job["spec"]
    assert environment_of(job)["PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR"]["value"] == "reschedule"


def test_a_running_pod_tells_autoscalers_to_leave_it() -> None:
    annotations = render({})["spec"]["template"]["metadata"]["annotations"]
    assert annotations["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "false"
    assert annotations["karpenter.sh/do-not-disrupt"] == "true"


def test_own_annotations_are_added_to_those() -> None:
    annotations = render({"annotations": {"team": "growth"}})["spec"]["template"]["metadata"]["annotations"]
    assert annotations["team"] == "growth"
    assert annotations["karpenter.sh/do-not-disrupt"] == "true"


def test_the_pod_finds_itself_by_the_labels_of_its_run() -> None:
    labels = render({})["spec"]["template"]["metadata"]["labels"]
    assert labels["warehouse/role"] == "flow-run"
    assert labels["prefect.io/flow-run-name"] == "Small-1"


def test_the_command_is_the_forking_entry() -> None:
    assert container(render({}))["args"] == ["python", "-m", "infra.kubernetes.execute"]


@pytest.mark.parametrize("name", CLASSES)
def test_a_resource_class_becomes_requests_and_limits(name: str) -> None:
    resources = container(render(CLASSES[name].job_variables()))["resources"]
    assert resources["requests"]["memory"] == resources["limits"]["memory"] == CLASSES[name].memory
    assert resources["requests"]["cpu"] == CLASSES[name].cpu_request
    assert resources["limits"]["cpu"] == CLASSES[name].cpu_limit


def test_nodes_of_a_pool_are_chosen_and_tolerated() -> None:
    toleration = {"key": "spot", "operator": "Exists", "effect": "NoSchedule"}
    pod = render({"node_selector": {"pool": "spot"}, "tolerations": [toleration]})["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {"pool": "spot"}
    assert pod["tolerations"] == [toleration]


def test_the_environment_sets_what_differs_between_clusters() -> None:
    environment = {
        "WAREHOUSE_IMAGE": "registry.example.com/warehouse:1",
        "WAREHOUSE_PULL_POLICY": "Always",
        "WAREHOUSE_NAMESPACE": "elsewhere",
        "WAREHOUSE_TOLERATIONS": '[{"key": "pool"}]',
        "WAREHOUSE_NODE_SELECTOR": '{"pool": "spot"}',
    }
    job = render({}, environment)
    assert container(job)["image"] == "registry.example.com/warehouse:1"
    assert container(job)["imagePullPolicy"] == "Always"
    assert job["metadata"]["namespace"] == "elsewhere"
    assert job["spec"]["template"]["spec"]["tolerations"] == [{"key": "pool"}]
    assert job["spec"]["template"]["spec"]["nodeSelector"] == {"pool": "spot"}


def test_a_variable_that_is_not_json_is_named() -> None:
    with pytest.raises(ValueError, match="WAREHOUSE_TOLERATIONS is not JSON"):
        base_job_template({"WAREHOUSE_TOLERATIONS": "[{"})


@pytest.mark.parametrize(
    "wrong",
    [{"active_deadline_seconds": 1}, {"termination_grace_period_seconds": 5}, {"tolerations": {}}, {"image": None}],
)
def test_wrong_job_variables_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        render(wrong)


def test_every_variable_is_used_and_every_use_is_a_variable() -> None:
    from prefect.utilities.templating import find_placeholders

    template = base_job_template({})
    used = {place.name for place in find_placeholders(template["job_configuration"])}
    assert used == set(template["variables"]["properties"])


def test_no_secret_stands_in_the_job() -> None:
    job = render({"env": {"PLAIN": "yes"}})
    assert environment_of(job)["PLAIN"]["value"] == "yes"
    sources = container(job)["envFrom"]
    assert {"secretRef": {"name": "warehouse"}} in sources
    assert "password" not in json.dumps(job).lower()
