"""The manifests as written: what every workload must have, and that they agree with the code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

FOLDER = Path(__file__).parents[3] / "infra/kubernetes"
FILES = [file for place in ("base", "dashboard", "overlays/*") for file in sorted(FOLDER.glob(f"{place}/*.yaml"))]


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
    assert names == {"prefect-server", "prefect-worker", "dashboard", "postgres", "mongodb", "objects"}


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
        for generator in item.get("configMapGenerator", [])
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


# -- who may reach whom ---------------------------------------------------------------------------------------------


def matches(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """Whether a label selector takes a pod, by the rules of Kubernetes."""
    known = {"matchLabels", "matchExpressions"}
    assert set(selector) <= known, f"a selector that this test cannot read: {selector}"
    for key, value in selector.get("matchLabels", {}).items():
        if labels.get(key) != value:
            return False
    for rule in selector.get("matchExpressions", []):
        assert rule["operator"] == "In"
        if labels.get(rule["key"]) not in rule["values"]:
            return False
    return True


def allows(rules: list[dict[str, Any]], peer_key: str, peer: dict[str, str], port: int) -> bool:
    """Whether one of the rules lets a pod with these labels through on a port; no peers or no ports mean all."""
    return any(
        (peer_key not in rule or any(matches(one["podSelector"], peer) for one in rule[peer_key]))
        and ("ports" not in rule or port in {one["port"] for one in rule["ports"]})
        for rule in rules
    )


def reaches(policies: list[dict[str, Any]], source: dict[str, str], target: dict[str, str] | None, port: int) -> bool:
    """Whether the policies of ingress of the target (None: not a pod of ours) and of egress of the source allow it."""
    for direction, peer_key, taken, peer in (
        ("Ingress", "from", target, source),
        ("Egress", "to", source, target or {}),
    ):
        if taken is None:
            continue
        applied = [
            item["spec"]
            for item in policies
            if direction in item["spec"]["policyTypes"] and matches(item["spec"]["podSelector"], taken)
        ]
        if applied and not any(allows(spec.get(direction.lower(), []), peer_key, peer, port) for spec in applied):
            return False
    return True


def policies_of(overlay: str) -> list[dict[str, Any]]:
    files = [file for place in ("base", "dashboard", f"overlays/{overlay}") for file in FOLDER.glob(f"{place}/*.yaml")]
    found = [item for file in files for item in YAML(typ="safe").load_all(file.read_text()) if item]
    return [item for item in found if item.get("kind") == "NetworkPolicy"]


def labels_of(workload: str) -> dict[str, str]:
    """Labels of the pods of a Deployment, or of a flow run."""
    if workload == "flow-run":
        from infra.kubernetes.template import base_job_template

        job = base_job_template({})["job_configuration"]["job_manifest"]
        return dict(job["spec"]["template"]["metadata"]["labels"])
    [found] = [item for item in WORKLOADS if item["metadata"]["name"] == workload]
    return dict(found["spec"]["template"]["metadata"]["labels"])


@pytest.mark.parametrize("overlay", ["local", "production"])
@pytest.mark.parametrize(
    ("source", "target", "port", "expected"),
    [
        ("flow-run", "prefect-server", 4200, True),
        ("prefect-worker", "prefect-server", 4200, True),
        ("postgres", "prefect-server", 4200, False),
        ("flow-run", "prefect-server", 8080, False),
        ("flow-run", "prefect-worker", 8080, False),
        ("prefect-worker", "flow-run", 8080, False),
        ("flow-run", "flow-run", 22, False),
        ("flow-run", "dashboard", 8501, False),
        ("dashboard", "prefect-server", 4200, False),
    ],
)
def test_the_policies_let_through_what_the_product_needs_and_nothing_else(
    overlay: str, source: str, target: str, port: int, expected: bool
) -> None:
    assert reaches(policies_of(overlay), labels_of(source), labels_of(target), port) is expected


@pytest.mark.parametrize(
    ("source", "target", "port"),
    [
        ("flow-run", "postgres", 5432),
        ("flow-run", "mongodb", 27017),
        ("flow-run", "objects", 7070),
        ("prefect-server", "postgres", 5432),
    ],
)
def test_the_local_services_can_be_reached(source: str, target: str, port: int) -> None:
    assert reaches(policies_of("local"), labels_of(source), labels_of(target), port)


@pytest.mark.parametrize(
    ("source", "port", "expected"),
    [
        ("flow-run", 5432, True),
        ("flow-run", 27017, True),
        ("flow-run", 443, True),
        ("flow-run", 53, True),
        ("prefect-worker", 6443, True),
        ("prefect-server", 5432, True),
        ("flow-run", 25, False),
        ("prefect-server", 22, False),
    ],
)
def test_production_may_leave_the_cluster_for_databases_and_tls_alone(source: str, port: int, expected: bool) -> None:
    assert reaches(policies_of("production"), labels_of(source), None, port) is expected


def test_a_policy_names_ports_that_its_pods_listen_on() -> None:
    for policy in policies_of("local"):
        for rule in policy["spec"].get("ingress", []):
            ports = {one["port"] for one in rule.get("ports", [])}
            taken = [item for item in WORKLOADS if matches(policy["spec"]["podSelector"],
                     item["spec"]["template"]["metadata"]["labels"])]  # fmt: skip
            assert taken, policy["metadata"]["name"]
            open_ports = {
                port["containerPort"]
                for item in taken
                for container in item["spec"]["template"]["spec"]["containers"]
                for port in container.get("ports", [])
            }
            assert ports <= open_ports, policy["metadata"]["name"]
