"""A company's own dbt project: its skeleton, and models written from what bronze has."""

from __future__ import annotations

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tasks import dbt
from tasks.dbt.company import BronzeColumn, own_columns, write_model, write_project
from tasks.errors import ConfigError

COLUMNS = [
    BronzeColumn("_id", "text"),
    BronzeColumn("reason", "text"),
    BronzeColumn("customerId", "text"),
    BronzeColumn("customer_id", "text"),
    BronzeColumn("amount.value", "numeric"),
    BronzeColumn("2nd", "timestamp with time zone"),
    BronzeColumn("_loaded_at", "timestamp with time zone"),
]


def test_the_skeleton_is_a_project_that_finds_the_packages_wherever_the_product_is(tmp_path: Path) -> None:
    written = write_project(tmp_path / "own", "acme")
    packages = YAML(typ="safe").load((tmp_path / "own/packages.yml").read_text())["packages"]
    assert [package["local"] for package in packages] == [
        "{{ env_var('WAREHOUSE_DBT_PACKAGES') }}/core",
        "{{ env_var('WAREHOUSE_DBT_PACKAGES') }}/ads",
    ]
    assert YAML(typ="safe").load((tmp_path / "own/dbt_project.yml").read_text())["name"] == "acme"
    assert len(written) == len(set(written)) > 5
    (tmp_path / "own/dbt_project.yml").write_text("mine")
    assert write_project(tmp_path / "own", "acme") == []
    assert (tmp_path / "own/dbt_project.yml").read_text() == "mine"


@pytest.mark.parametrize(("name", "packages"), [("My Shop", ("core",)), ("acme", ("core", "nothing"))])
def test_mistakes_are_named_before_anything_is_written(tmp_path: Path, name: str, packages: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError):
        write_project(tmp_path / "own", name, packages)
    assert not (tmp_path / "own").exists()


def test_a_model_passes_on_what_bronze_has_under_names_for_sql(tmp_path: Path) -> None:
    write_project(tmp_path / "own")
    project = dbt.Project(tmp_path / "own")
    sql, yaml = write_model(project, "shop", "returns", "shop__returns", own_columns(COLUMNS))
    assert sql.read_text().splitlines() == [
        "{%- set bronze = warehouse.bronze_table('shop', 'returns') -%}",
        "select",
        "    bronze_rows._id as return_id,",
        "    {{ warehouse.bronze_value(bronze, 'reason', 'text') }} as reason,",
        "    {{ warehouse.bronze_value(bronze, 'customerId', 'text') }} as customer_id,",
        "    {{ warehouse.bronze_value(bronze, 'customer_id', 'text') }} as customer_id_2,",
        "    {{ warehouse.bronze_value(bronze, 'amount.value', 'numeric') }} as amount_value,",
        "    {{ warehouse.bronze_value(bronze, '2nd', 'timestamptz') }} as _2nd",
        "from {{ bronze.rows }}",
    ]
    told = YAML(typ="safe").load(yaml.read_text())
    assert told["sources"][0]["tables"][0]["identifier"] == "shop__returns"
    [model] = told["models"]
    assert model["description"] == "One row per return that shop.returns still has."
    assert [column["name"] for column in model["columns"]][:2] == ["return_id", "reason"]
    with pytest.raises(ConfigError, match="already"):
        write_model(project, "shop", "returns", "shop__returns", [])


def test_tables_that_a_package_models_and_the_products_own_project_are_left_alone(tmp_path: Path) -> None:
    write_project(tmp_path / "own")
    with pytest.raises(ConfigError, match="already"):
        write_model(dbt.Project(tmp_path / "own"), "ads", "meta_ads", "ads__meta_ads", [])
    with pytest.raises(ConfigError, match="not edited"):
        write_model(dbt.Project(dbt.SHIPPED), "shop", "returns", "shop__returns", [])
