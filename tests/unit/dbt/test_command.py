"""dbt's command line, environment and results, without dbt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tasks import dbt
from tasks.errors import DbtError
from tasks.sources import load_sources

URL = "postgresql://ana:p%40ss%3Aword@db.example:6543/shop_dw?sslmode=require&sslrootcert=/etc/ca.pem"


def test_arguments_are_complete_and_hold_no_secret(tmp_path: Path) -> None:
    command = dbt.DbtCommand(
        tmp_path,
        select=("source:shop.orders+", "dim_date"),
        exclude=("tag:slow",),
        full_refresh=True,
        variables={"a": 1},
        whole_tests=True,
    )
    assert command.arguments() == [
        "build",
        *("--project-dir", str(dbt.PROJECT), "--profiles-dir", str(dbt.PROJECT)),
        *("--target-path", str(tmp_path), "--log-path", str(tmp_path / "logs"), "--no-use-colors"),
        *("--select", "source:shop.orders+", "dim_date", "--exclude", "tag:slow"),
        *("--indirect-selection", "buildable", "--full-refresh", "--vars", '{"a": 1}'),
    ]


def test_arguments_leave_out_what_nobody_asked_for(tmp_path: Path) -> None:
    arguments = dbt.DbtCommand(tmp_path, "docs generate").arguments()
    assert arguments[:2] == ["docs", "generate"]
    assert not {"--select", "--exclude", "--indirect-selection", "--full-refresh", "--vars"} & set(arguments)


def test_environment_of_a_tcp_url() -> None:
    made = dbt.environment(URL, {"PATH": "/bin", "PGHOST": "ignored"})
    assert made["WAREHOUSE_DBT_HOST"] == "db.example"
    assert made["WAREHOUSE_DBT_PORT"] == "6543"
    assert made["WAREHOUSE_DBT_USER"] == "ana"
    assert made["WAREHOUSE_DBT_DBNAME"] == "shop_dw"
    assert made["WAREHOUSE_DBT_SSLMODE"] == "require"
    assert made["DBT_ENV_SECRET_WAREHOUSE_PASSWORD"] == "p@ss:word"
    assert made["PGSSLROOTCERT"] == "/etc/ca.pem"
    assert made["PATH"] == "/bin"


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


def test_missing_models_are_added_only_where_the_selection_leads(tmp_path: Path) -> None:
    models = {
        "stg_shop__orders": "{{ bronze_table('shop', 'orders') }}",
        "stg_shop__customers": "{{ bronze_table('shop', 'customers') }}",
        "stg_ads__meta": "{{ source('ads', 'meta') }}",
        "int_ads": "{% for name in ['meta'] %}{{ ref('stg_ads__' ~ name) }}{% endfor %}",
        "fct_order": """{{ ref("stg_shop__orders") }} {{ ref('stg_shop__customers') }}""",
        "rpt": "{{ ref('fct_order') }} {{ ref('int_ads') }}",
        "stg_crm__leads": "{{ source('crm', 'leads') }}",
    }
    (tmp_path / "models" / "silver").mkdir(parents=True)
    for name, text in models.items():
        (tmp_path / "models" / "silver" / f"{name}.sql").write_text(text)

    def added(*select: str) -> set[str]:
        found = dbt.with_missing(select, models, tmp_path)
        assert found[: len(select)] == select
        return set(found[len(select) :])

    (tmp_path / "models" / "silver" / "_models.yml").write_text(
        "models: [{name: stg_crm__leads, columns: [{name: id, data_tests: [{relationships: {to: ref('dim_lead')}}]}]}]"
    )
    models |= {"dim_lead": ""}
    assert added("source:shop.orders+") == set(models) - {"stg_crm__leads", "dim_lead"}
    assert added("source:crm.leads+") == {"stg_crm__leads", "dim_lead"}
    assert added("fct_order+") == set(models) - {"stg_crm__leads", "dim_lead"}
    assert added("source:erp.stock+", "rpt") == set()
    assert dbt.with_missing(("source:shop.orders+",), ["rpt", "stg_crm__leads"], tmp_path)[1:] == ("rpt",)


def _result(node: str, status: str, **more: Any) -> dict[str, Any]:
    timing = [] if status == "skipped" else [{"name": "execute", "started_at": "2026-01-02T03:04:05.678901Z"}]
    base = {"unique_id": node, "status": status, "timing": timing, "execution_time": 0.25, "adapter_response": {}}
    return base | {"message": None, "failures": None} | more


@pytest.fixture
def target(tmp_path: Path) -> Path:
    results = [
        _result("model.warehouse.fct_order", "success", adapter_response={"rows_affected": 7}, message="INSERT 0 7"),
        _result("model.warehouse.stg_orders", "success", adapter_response={"rows_affected": -1}),
        _result("test.warehouse.unique_x.abc", "fail", failures=3, message="Got 3 results"),
        _result(
            "model.warehouse.rpt",
            "error",
            message="Database Error in model rpt (models/gold/rpt.sql)\n"
            "  cannot reach postgresql://ana:secret@db/x\n  LINE 1",
        ),
        _result("test.warehouse.after.def", "skipped"),
    ]
    nodes = {
        result["unique_id"]: {
            "name": result["unique_id"].split(".")[2],
            "resource_type": result["unique_id"].split(".")[0],
            "schema": "gold",
            "alias": result["unique_id"].split(".")[2],
        }
        for result in results
    }
    (tmp_path / "run_results.json").write_text(json.dumps({"results": results}))
    (tmp_path / "manifest.json").write_text(json.dumps({"nodes": nodes, "sources": {}}))
    return tmp_path


def test_nodes_are_typed(target: Path) -> None:
    table, view, failed, broken, skipped = dbt.read_nodes(target)
    assert (table.relation, table.rows_affected, table.seconds, table.failed) == ("gold.fct_order", 7, 0.25, False)
    assert table.started_at is not None and table.started_at.year == 2026
    assert view.rows_affected is None
    assert (failed.resource_type, failed.failures, failed.relation, failed.failed) == ("test", 3, "", True)
    assert broken.failed and broken.message.splitlines() == [
        "cannot reach postgresql://***@db/x",
        "LINE 1",
        "Database Error in model rpt (models/gold/rpt.sql)",
    ]
    assert (skipped.status, skipped.started_at, skipped.failed) == ("skipped", None, False)


def test_check_names_what_failed(target: Path) -> None:
    result = dbt.DbtResult(dbt.read_nodes(target), 1.0, 1, target)
    assert result.counts() == {"success": 2, "fail": 1, "error": 1, "skipped": 1}
    with pytest.raises(DbtError, match=r"2 dbt node.*unique_x: Got 3 results; rpt: cannot reach postgresql"):
        result.check()


def test_a_run_that_ended_before_its_first_node_has_none(tmp_path: Path) -> None:
    assert dbt.read_nodes(tmp_path) == ()


def test_every_model_is_described_with_its_grain() -> None:
    from ruamel.yaml import YAML

    described: dict[str, str] = {}
    for path in dbt.PROJECT.rglob("_models.yml"):
        for model in YAML(typ="safe").load(path.read_text()).get("models", []):
            described[model["name"]] = model["description"]
            assert all(column.get("description") for column in model["columns"]), model["name"]
    models = {path.stem for path in dbt.PROJECT.glob("**/models/**/*.sql")}
    assert set(described) == models
    assert all(text.startswith("One row per ") for text in described.values())
