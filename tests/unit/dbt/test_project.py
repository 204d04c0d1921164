"""The dbt project in use: its checksum, what it declares, and dbt's environment; all without dbt."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from tasks import dbt
from tasks.dbt.project import declared_sources
from tasks.errors import ConfigError
from tasks.settings import Settings
from tasks.sources import load_sources

URL = "postgresql://ana:p%40ss%3Aword@db.example:6543/shop_dw?sslmode=require&sslrootcert=/etc/ca.pem"


def test_environment_of_a_tcp_url() -> None:
    made = dbt.environment(URL, {"PATH": "/bin", "PGHOST": "ignored"})
    assert made["WAREHOUSE_DBT_HOST"] == "db.example"
    assert made["WAREHOUSE_DBT_PORT"] == "6543"
    assert made["WAREHOUSE_DBT_USER"] == "ana"
    assert made["WAREHOUSE_DBT_DBNAME"] == "shop_dw"
    assert made["WAREHOUSE_DBT_SSLMODE"] == "require"
    assert made["DBT_ENV_SECRET_WAREHOUSE_PASSWORD"] == "p@ss:word"
    assert made["PGSSLROOTCERT"] == "/etc/ca.pem"
    assert (made["PATH"], made["PGTZ"]) == ("/bin", "UTC")


def test_environment_of_a_socket_url() -> None:
    made = dbt.environment("postgresql://postgres@/dw?host=/run/pg&port=5433", {})
    assert (made["WAREHOUSE_DBT_HOST"], made["WAREHOUSE_DBT_PORT"]) == ("/run/pg", "5433")
    assert made["DBT_ENV_SECRET_WAREHOUSE_PASSWORD"] == ""
    encoded = dbt.environment("postgresql://postgres@%2Frun%2Fpg/dw", {})
    assert encoded["WAREHOUSE_DBT_HOST"] == "/run/pg"


def test_selection_covers_child_tables(tmp_path: Path) -> None:
    (tmp_path / "sources.yaml").write_text(
        "sources:\n  shop:\n    kind: mongodb\n    uri: mongodb://x\n    database: shop\n    tables:\n"
        "      orders: {arrays: {items: table, items.discounts: table, tags: json}}\n      events: {}\n"
    )
    refs = load_sources(tmp_path / "sources.yaml").refs()
    assert dbt.selection(refs) == (
        "source:shop.orders+",
        "source:shop.orders__items+",
        "source:shop.orders__items__discounts+",
        "source:shop.events+",
    )


def _project(folder: Path) -> dbt.Project:
    (folder / "models").mkdir(parents=True)
    (folder / "dbt_project.yml").write_text("name: own\n")
    (folder / "models" / "a.sql").write_text("select 1")
    (folder / "models" / "_sources.yml").write_text(
        "sources:\n- name: shop\n  tables: [{name: orders}, {name: orders__items}]\n"
    )
    return dbt.Project(folder, folder.parent / "none")


def test_the_checksum_follows_files_environment_and_nothing_else(tmp_path: Path) -> None:
    project = _project(tmp_path / "own")
    before = project.checksum({})
    (project.folder / "target").mkdir()
    (project.folder / "target" / "manifest.sql").write_text("x")
    (project.folder / "models" / "notes.txt").write_text("x")
    assert project.checksum({"PATH": "/bin", "DBT_ENV_SECRET_X": "x"}) == before
    assert project.checksum({"DBT_SCHEMA": "x"}) != before
    assert project.checksum({"WAREHOUSE_DBT_DBNAME": "x"}) != before
    (project.folder / "models" / "a.sql").write_text("select 2")
    assert project.checksum({}) != before


def test_declared_sources_are_known_without_dbt(tmp_path: Path) -> None:
    project = _project(tmp_path / "own")
    (project.folder / "dbt_project.yml").write_text("name: own\nsources:\n  own: {+enabled: true}\n")
    files = [path for path in project.files() if path.suffix == ".yml"]
    assert declared_sources(files) == {"shop.orders", "shop.orders__items"}
    (project.folder / "models" / "more.yml").write_text("sources:\n- name: \"{{ var('x') }}\"\n  tables: [{name: a}]\n")
    assert declared_sources([*files, project.folder / "models" / "more.yml"]) is None


def test_packages_are_installed_when_none_is_or_the_product_moved(tmp_path: Path) -> None:
    project = _project(tmp_path / "own")
    assert not project.needs_deps
    (project.folder / "packages.yml").write_text("packages: []\n")
    assert project.needs_deps
    (project.packages / "core").mkdir(parents=True)
    (project.folder / "dbt_packages").mkdir()
    (project.folder / "dbt_packages" / "warehouse").symlink_to(project.packages / "core")
    assert not project.needs_deps
    moved = dbt.Project(project.folder, tmp_path / "elsewhere")
    assert moved.needs_deps


def test_a_folder_without_a_project_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="WAREHOUSE_DBT"):
        dbt.Project.of(Settings(url=SecretStr("postgresql://x"), dbt=tmp_path))


def test_every_model_is_described_with_its_grain() -> None:
    from ruamel.yaml import YAML

    described: dict[str, str] = {}
    for path in dbt.SHIPPED.rglob("_models.yml"):
        for model in YAML(typ="safe").load(path.read_text()).get("models", []):
            described[model["name"]] = model["description"]
            assert all(column.get("description") for column in model["columns"]), model["name"]
    models = {path.stem for path in dbt.SHIPPED.glob("**/models/**/*.sql")}
    assert set(described) == models
    assert all(text.startswith("One row per ") for text in described.values())


def test_every_grain_of_gold_is_tested() -> None:
    """A column or several are unique."""
    from ruamel.yaml import YAML

    models = [
        model
        for path in dbt.SHIPPED.glob("packages/*/models/gold/_models.yml")
        for model in YAML(typ="safe").load(path.read_text())["models"]
    ]
    untested = {
        model["name"]
        for model in models
        if not any("unique" in column.get("data_tests", ()) for column in model["columns"])
        and not any("unique_combination" in name for test in model.get("data_tests", ()) for name in test)
    }
    assert (len(models) > 25, untested) == (True, set())
