"""prefect.yaml, through strict copies of Prefect's own models: a misspelt key would otherwise vanish in silence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from prefect.cli.deploy import _models as theirs
from pydantic import BaseModel, ConfigDict
from ruamel.yaml import YAML

from flows import deploy, launch
from tasks.errors import ConfigError
from tasks.resources import CLASSES

PATH = deploy.ROOT / "prefect.yaml"
DOCUMENT: dict[str, Any] = YAML(typ="safe").load(PATH.read_text())
VARIABLES = {"WAREHOUSE_WORK_POOL": "local", "WAREHOUSE_CODE": "/code"}


def strict(model: type[BaseModel]) -> type[BaseModel]:
    """Return a copy of a model that refuses keys it does not know."""

    copy = type(f"Strict{model.__name__}", (model,), {"model_config": ConfigDict(extra="forbid")})
    copy.model_rebuild(_types_namespace=vars(theirs))
    return copy


def test_every_key_is_one_that_prefect_knows() -> None:
    top = {key: value for key, value in DOCUMENT.items() if key != "definitions"}
    strict(theirs.PrefectYamlModel).model_validate({**top, "deployments": []})
    for item in DOCUMENT["deployments"]:
        strict(theirs.DeploymentConfig).model_validate(
            {key: value for key, value in item.items() if key not in ("work_pool", "concurrency_limit", "schedules")}
        )
        strict(theirs.WorkPoolConfig).model_validate(item["work_pool"])
        strict(theirs.ConcurrencyLimitSpec).model_validate(item["concurrency_limit"])
        for schedule in item["schedules"]:
            theirs.RawScheduleConfig.model_validate(schedule)


def test_the_strict_copy_refuses_a_misspelt_key() -> None:
    with pytest.raises(ValueError, match="entry_point"):
        strict(theirs.DeploymentConfig).model_validate({"name": "x", "entry_point": "y"})


@pytest.mark.parametrize("item", DOCUMENT["deployments"], ids=lambda item: f"{item['entrypoint']}-{item['name']}")
def test_every_deployment_is_whole_and_its_entrypoint_imports(item: dict[str, Any]) -> None:
    flow = deploy.load_flow(item["entrypoint"])
    assert (deploy.ROOT / item["entrypoint"].split(":")[0]).is_file()
    assert item["description"] and "warehouse" in item["tags"]
    # What reads again waits for somebody who names it.
    assert item["schedules"] or item["name"] == "backfill" or flow.name == "reset"
    assert item["concurrency_limit"]["limit"] >= 1
    unknown = set(item.get("parameters", {})) - set(flow.parameters.properties)
    assert not unknown


def test_every_step_of_the_pipeline_has_its_deployments() -> None:
    names = {f"{deploy.load_flow(item['entrypoint']).name}/{item['name']}" for item in DOCUMENT["deployments"]}
    assert len(names) == len(DOCUMENT["deployments"])
    for flow in ("extract", "load-bronze"):
        assert {f"{flow}/{name}" for name in CLASSES if name != "tiny"} <= names
    assert {"dbt-transform/medium", "dbt-transform/large", "dbt-transform/xlarge", "monitoring/small"} <= names
    assert {deploy.load_flow(f"{path.replace('.', '/')}.py:{name}").name for path, name in
            (entry.split(":") for entry in launch.FLOWS.values())} == set(launch.FLOWS)  # fmt: skip


def test_the_form_of_a_reset_says_what_to_fill_in() -> None:
    fields = deploy.load_flow("flows/reset.py:reset").parameters
    assert fields.required == ["table"]
    assert {name: bool(field.get("description")) for name, field in fields.properties.items()} == dict.fromkeys(
        ("table", "since", "models", "by", "why"), True
    )


def test_the_anchors_are_the_resource_classes() -> None:
    for name, item in CLASSES.items():
        variables = dict(DOCUMENT["definitions"][name]["job_variables"])
        assert variables.pop("env") == {"WAREHOUSE_EXECUTION": "deployments"}
        assert variables == item.job_variables()


def test_the_daily_pipeline_and_its_helpers_are_scheduled() -> None:
    active = {
        deploy.load_flow(item["entrypoint"]).name
        for item in DOCUMENT["deployments"]
        if any(schedule["active"] for schedule in item["schedules"])
    }
    assert active >= {"pipeline", "dbt-transform", "monitoring", "reaper"}


def test_variables_are_filled_in_and_a_missing_one_is_named() -> None:
    found = deploy.read_deployments(PATH, VARIABLES)
    assert {item["work_pool"] for item in found} == {"local"}
    assert found[0]["pull"] == [{"prefect.deployments.steps.set_working_directory": {"directory": "/code"}}]
    with pytest.raises(ConfigError, match="WAREHOUSE_CODE"):
        deploy.read_deployments(PATH, {"WAREHOUSE_WORK_POOL": "local"})


@pytest.mark.parametrize(("pool", "code"), [("local", str(deploy.ROOT)), ("kubernetes", "/app")])
def test_the_place_of_the_code_follows_the_pool(pool: str, code: str) -> None:
    assert deploy.deploy_variables({"WAREHOUSE_WORK_POOL": pool})["WAREHOUSE_CODE"] == code


def test_differences_name_the_path() -> None:
    before, after = {"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}, "d": [1]}
    assert list(deploy.differences(before, after)) == ["a.c: 2 -> 3", "d: nothing -> [1]"]
    assert list(deploy.differences(before, before)) == []


def test_no_path_of_this_machine_is_in_the_file() -> None:
    assert str(Path(__file__).resolve().parents[3]) not in PATH.read_text()
