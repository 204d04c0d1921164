"""What happened to each node, read from dbt's artifacts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tasks import dbt
from tasks.dbt.results import read_nodes
from tasks.errors import DbtError


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
    nodes: dict[str, dict[str, Any]] = {
        result["unique_id"]: {
            "name": result["unique_id"].split(".")[2],
            "resource_type": result["unique_id"].split(".")[0],
            "schema": "gold",
            "alias": result["unique_id"].split(".")[2],
        }
        for result in results
    }
    nodes["model.warehouse.rpt"]["config"] = {"group": "sales"}
    nodes["test.warehouse.unique_x.abc"]["depends_on"] = {"nodes": ["model.warehouse.fct_order"]}
    nodes["model.warehouse.fct_order"]["config"] = {"meta": {"owner": "ana@example.com"}}
    groups = {"group.warehouse.sales": {"name": "sales", "owner": {"name": "Sales"}}}
    (tmp_path / "run_results.json").write_text(json.dumps({"results": results}))
    (tmp_path / "manifest.json").write_text(json.dumps({"nodes": nodes, "sources": {}, "groups": groups}))
    return tmp_path


def test_nodes_are_typed(target: Path) -> None:
    table, view, failed, broken, skipped = read_nodes(target)
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
    result = dbt.DbtResult(read_nodes(target), 1.0, 1, target)
    assert result.counts() == {"success": 2, "fail": 1, "error": 1, "skipped": 1}
    with pytest.raises(DbtError, match=r"2 dbt node.*unique_x: Got 3 results; rpt: cannot reach postgresql"):
        result.check()


def test_a_run_that_ended_before_its_first_node_has_none(tmp_path: Path) -> None:
    assert read_nodes(tmp_path) == ()


def test_failures_have_a_class_and_an_owner(target: Path) -> None:
    nodes = {node.name: node for node in read_nodes(target)}
    assert (nodes["unique_x"].error_class, nodes["unique_x"].owner) == ("data_quality", "ana@example.com")
    assert (nodes["rpt"].error_class, nodes["rpt"].owner) == ("model", "Sales")
    assert (nodes["stg_orders"].error_class, nodes["stg_orders"].owner) == ("", "")
