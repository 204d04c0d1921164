"""The Superset bundle against a real Postgres: every column and metric is SQL that gold answers."""

from __future__ import annotations

import uuid
import zipfile
from pathlib import Path

import pytest
from psycopg import sql
from ruamel.yaml import YAML

from infra.superset import bundle
from tasks.database import connect


def test_the_same_definitions_give_the_same_bytes(tmp_path: Path) -> None:
    first, second = bundle.write(tmp_path / "a.zip"), bundle.write(tmp_path / "b.zip")
    assert first.read_bytes() == second.read_bytes()
    with zipfile.ZipFile(first) as opened:
        names = opened.namelist()
        assert {name.split("/")[1] for name in names} == {
            "metadata.yaml",
            "databases",
            "datasets",
            "charts",
            "dashboards",
        }
        assert all(YAML(typ="safe").load(opened.read(name)) for name in names)


def test_everything_that_refers_finds_what_it_means() -> None:
    files = bundle.build(bundle.read_definitions(), bundle.read_columns())
    ids = [content["uuid"] for content in files.values() if "uuid" in content]
    assert len(ids) == len(set(ids)) and all(uuid.UUID(one) for one in ids)
    datasets = {content["uuid"]: content for content in files.values() if "table_name" in content}
    for chart in (content for content in files.values() if "slice_name" in content):
        dataset = datasets[chart["dataset_uuid"]]
        metrics = {metric["metric_name"] for metric in dataset["metrics"]}
        params = chart["params"]
        assert {*params.get("metrics", []), *([params["metric"]] if "metric" in params else [])} <= metrics
        groups = params.get("groupby", [])
        columns = {column["column_name"] for column in dataset["columns"]}
        assert {*([groups] if isinstance(groups, str) else groups), dataset["main_dttm_col"]} <= columns
    for dashboard in (content for content in files.values() if "dashboard_title" in content):
        cells = [cell for cell in dashboard["position"].values() if isinstance(cell, dict) and cell["type"] == "CHART"]
        assert cells and {cell["meta"]["uuid"] for cell in cells} <= set(ids)


@pytest.mark.parametrize("name", sorted(bundle.read_definitions()["datasets"]))
def test_columns_and_metrics_are_those_of_the_models(postgres_url: str, name: str) -> None:
    columns = bundle.read_columns()[name]
    dataset = bundle.build(bundle.read_definitions(), bundle.read_columns())[
        f"warehouse/datasets/warehouse/{name}.yaml"
    ]
    with connect(postgres_url, autocommit=True) as connection:
        connection.execute("create schema gold")
        listed = sql.SQL(", ").join(
            sql.SQL("{} {}").format(sql.Identifier(one["name"]), sql.SQL(one["data_type"])) for one in columns
        )
        table = sql.Identifier("gold", name)
        connection.execute(sql.SQL("create table {} ({})").format(table, listed))
        for metric in dataset["metrics"]:
            connection.execute(sql.SQL("select {} from {}").format(sql.SQL(metric["expression"]), table))
