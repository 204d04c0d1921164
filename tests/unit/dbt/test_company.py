"""A company's own dbt project: its skeleton, and models written from what bronze has."""

from __future__ import annotations

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tasks import dbt
from tasks.dbt.company import find_model, read_text, replace_text, write_model, write_project
from tasks.dbt.staging import Bronze, BronzeColumn
from tasks.errors import ConfigError

COLUMNS = [
    BronzeColumn("reason", "text"),
    BronzeColumn("customerId", "text"),
    BronzeColumn("customer_id", "text"),
    BronzeColumn("amount.value", "numeric"),
    BronzeColumn("2nd", "timestamp with time zone"),
]
RETURNS = Bronze("shop__returns", COLUMNS)


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
    sql, yaml = write_model(project, "shop", "returns", RETURNS)
    assert sql.read_text().splitlines() == [
        "{%- set bronze = warehouse.bronze_table('shop', 'returns') -%}",
        "select",
        "    -- warehouse: columns of shop.returns, kept by `warehouse drift write-dbt shop.returns`",
        "    bronze_rows._id as return_id,",
        "    {{ warehouse.bronze_value(bronze, 'reason', 'text') }} as reason,",
        "    {{ warehouse.bronze_value(bronze, 'customerId', 'text') }} as customer_id,",
        "    {{ warehouse.bronze_value(bronze, 'customer_id', 'text') }} as customer_id_2,",
        "    {{ warehouse.bronze_value(bronze, 'amount.value', 'numeric') }} as amount_value,",
        "    {{ warehouse.bronze_value(bronze, '2nd', 'timestamptz') }} as _2nd",
        "    -- warehouse: end",
        "from {{ bronze.rows }}",
    ]
    told = YAML(typ="safe").load(yaml.read_text())
    assert told["sources"][0]["tables"][0]["identifier"] == "shop__returns"
    [model] = told["models"]
    assert model["description"] == "One row per return that shop.returns still has."
    assert [column["name"] for column in model["columns"]][:2] == ["return_id", "reason"]
    with pytest.raises(ConfigError, match="already"):
        write_model(project, "shop", "returns", RETURNS)


def test_tables_that_a_package_models_and_the_products_own_project_are_left_alone(tmp_path: Path) -> None:
    write_project(tmp_path / "own")
    with pytest.raises(ConfigError, match="already"):
        write_model(dbt.Project(tmp_path / "own"), "ads", "meta_ads", RETURNS)
    # The sample shop's package, which models a table of this name, is not installed.
    assert write_model(dbt.Project(tmp_path / "own"), "shop", "orders", RETURNS)
    with pytest.raises(ConfigError, match="not edited"):
        write_model(dbt.Project(dbt.SHIPPED), "shop", "returns", RETURNS)


def test_a_model_of_ones_own_is_found_where_a_person_moved_it(tmp_path: Path) -> None:
    write_project(tmp_path / "own")
    project = dbt.Project(tmp_path / "own")
    with pytest.raises(ConfigError, match="no stg_shop__returns") as missing:
        find_model(project, "shop", "returns")
    assert "`warehouse model new shop.returns`" in missing.value.action
    sql, _ = write_model(project, "shop", "returns", RETURNS)
    moved = project.folder / "models" / "silver" / sql.name
    sql.rename(moved)
    assert find_model(project, "shop", "returns") == moved
    with pytest.raises(ConfigError, match="not edited"):
        find_model(dbt.Project(dbt.SHIPPED), "shop", "orders")
    # A package's model is none of one's own, though its files decide what is built.
    with pytest.raises(ConfigError, match="no stg_ads__meta_ads"):
        find_model(project, "ads", "meta_ads")


def test_a_file_that_somebody_changed_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    model = tmp_path / "model.sql"
    model.write_bytes(b"select 1\r\n")
    model.chmod(0o640)
    before = read_text(model)
    replace_text(model, before, "select 2\r\n")
    assert (model.read_bytes(), model.stat().st_mode & 0o777) == (b"select 2\r\n", 0o640)
    with pytest.raises(ConfigError, match="meanwhile"):
        replace_text(model, before, "select 3")
    assert model.read_bytes() == b"select 2\r\n"
    assert [path.name for path in tmp_path.iterdir()] == ["model.sql"]
