"""The manifests as written: what every workload must have, and that they agree with the code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

FOLDER = Path(__file__).parents[3] / "infra/kubernetes"
FILES = [*sorted(FOLDER.glob("base/*.yaml")), *sorted(FOLDER.glob("overlays/*/*.yaml"))]


def documents(*names: str) -> list[dict[str, Any]]:
    found = []
    for file in FILES:
        if not names or file.name in names:
            found += [item for item in YAML(typ="safe").load_all(file.read_text()) if item]
    return found


WORKLOADS = [item for item in documents() if item.get("kind") == "Deployment"]
PODS = [pytest.param(item["spec"]["template"]["spec"], id=item["metadata"]["name"]) for item in WORKLOADS]


def test_all_workloads_are_seen() -> None:
    names = {item["metadata"]["name"] for item in WORKLOADS}
    assert names == {"prefect-server", "prefect-worker", "postgres", "mongodb", "objects"}


@pytest.mark.parametrize("pod", PODS)
def test_every_pod_fits_the_restricted_standard(pod: dict[str, Any]) -> None:
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
    for container in [*pod["containers"], *pod.get("initContainers", [])]:
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"]["drop"] == ["ALL"]
        assert "memory" in container["resources"]["limits"]


@pytest.mark.parametrize("pod", PODS)
def test_every_container_is_probed(pod: dict[str, Any]) -> None:
    for container in pod["containers"]:
        assert {"readinessProbe", "livenessProbe"} & set(container)


def test_the_worker_alone_may_touch_jobs_and_nothing_outside_its_namespace() -> None:
    [role] = [item for item in documents("access.yaml") if item["kind"] == "Role"]
    granted = {(group, name): set(rule["verbs"])
               for rule in role["rules"] for group in rule["apiGroups"] for name in rule["resources"]}  # fmt: skip
    assert set(granted) == {("batch", "jobs"), ("", "pods"), ("", "pods/log")}
    assert "create" not in granted["", "pods"]
    assert not [item for item in documents() if item.get("kind", "").startswith("ClusterRole")]


def test_no_secret_stands_in_the_base_or_in_production() -> None:
    for file in FILES:
        if "local" not in file.parts:
            assert "secretGenerator" not in file.read_text()
            assert "kind: Secret" not in file.read_text()


def test_sources_of_the_overlays_are_valid() -> None:
    from tasks.sources import load_sources

    for file in FOLDER.glob("overlays/*/sources.yaml"):
        assert load_sources(file, {"MONGODB_URI": "mongodb://db.example.com/"}).refs()


def test_the_settings_of_the_base_are_known() -> None:
    from tasks.settings import Settings

    known = {f"WAREHOUSE_{name.upper()}" for name in Settings.model_fields}
    template = {"WAREHOUSE_WORK_POOL", "WAREHOUSE_NODE_SELECTOR", "WAREHOUSE_TOLERATIONS"}
    given = {
        literal.partition("=")[0]
        for item in documents("kustomization.yaml")
        for generator in item["configMapGenerator"]
        for literal in generator.get("literals", [])
    }
    assert {name for name in given if name.startswith("WAREHOUSE_")} <= known | template


def test_names_that_the_template_refers_to_exist() -> None:
    from infra.kubernetes.template import base_job_template

    template = base_job_template({})
    defaults = {name: spec.get("default") for name, spec in template["variables"]["properties"].items()}
    accounts = {item["metadata"]["name"] for item in documents("access.yaml") if item["kind"] == "ServiceAccount"}
    priorities = {item["metadata"]["name"] for item in documents("priority.yaml")}
    assert defaults["service_account_name"] in accounts
    assert defaults["priority_class_name"] in priorities
    [namespace] = documents("namespace.yaml")
    assert defaults["namespace"] == namespace["metadata"]["name"]
