"""As of when marts are: worked by hand from loads, builds and failures."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from monitoring import lineage, source_freshness
from monitoring.freshness import Mart, Table, Verdict, judge

NOW = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
SLA = timedelta(hours=26)


def hours(ago: float) -> datetime:
    return NOW - timedelta(hours=ago)


def verdict_of(relation: str, tables: list[Table], marts: list[Mart]) -> Verdict:
    return next(one for one in judge(tables, marts, NOW) if one.relation == relation)


def test_a_mart_is_as_old_as_its_oldest_table() -> None:
    tables = [Table("a.x", SLA, hours(2)), Table("a.y", SLA, hours(5))]
    mart = Mart("gold.m", "ana", SLA, ("a.x", "a.y"), hours(1))
    found = verdict_of("gold.m", tables, [mart])
    assert (found.state, found.as_of, found.because, found.owner) == ("fresh", hours(5), None, "ana")


def test_what_is_loaded_but_not_built_is_not_in_the_mart() -> None:
    loads = ((hours(50), hours(51)), (hours(20), hours(21)), (hours(2), hours(3)))
    table = Table("a.x", SLA, hours(1), loads)
    built_between = verdict_of("gold.m", [table], [Mart("gold.m", None, SLA, ("a.x",), hours(10))])
    assert (built_between.as_of, built_between.state) == (hours(21), "fresh")
    built_before = verdict_of("gold.m", [table], [Mart("gold.m", None, SLA, ("a.x",), hours(40))])
    assert (built_before.as_of, built_before.state, built_before.since) == (hours(51), "stale", hours(51) + SLA)
    assert built_before.because == "what was loaded since has not been built"
    # A run that found nothing new makes it newer, though nothing was loaded or built.
    quiet = Table("a.x", SLA, hours(1), loads[:1])
    assert verdict_of("gold.m", [quiet], [Mart("gold.m", None, SLA, ("a.x",), hours(40))]).as_of == hours(1)


def test_a_failure_holds_up_the_marts_above_and_no_others() -> None:
    tables = [Table("a.x", SLA, hours(25), failure="refused"), Table("b.y", SLA, hours(1))]
    marts = [Mart("gold.of_x", None, SLA, ("a.x", "b.y"), hours(1)), Mart("gold.of_y", None, SLA, ("b.y",), hours(1))]
    behind = verdict_of("gold.of_x", tables, marts)
    assert (behind.state, behind.since, behind.because) == ("behind", hours(25), "a.x: refused")
    assert verdict_of("gold.of_y", tables, marts).state == "fresh"
    assert verdict_of("a.x", tables, marts).state == "behind"


def test_never_loaded_and_never_built() -> None:
    never = Table("a.x", SLA, None)
    assert verdict_of("a.x", [never], []).because == "no run has read it"
    assert verdict_of("gold.m", [never], [Mart("gold.m", None, SLA, ("a.x",), hours(1))]).because == (
        "a.x: no run has read it"
    )
    unbuilt = verdict_of("gold.m", [Table("a.x", SLA, hours(1))], [Mart("gold.m", None, SLA, ("a.x",), None)])
    assert (unbuilt.state, unbuilt.because) == ("never", "never built")


def test_a_mart_of_tables_that_nobody_reads_is_not_judged() -> None:
    marts = [Mart("gold.currency", None, SLA, (), None), Mart("gold.funnel", None, SLA, ("a.y",), None)]
    assert [verdict.relation for verdict in judge([Table("a.x", SLA, NOW)], marts, NOW)] == ["a.x"]


def test_a_model_that_failed_is_the_reason_before_its_tables() -> None:
    mart = Mart("gold.m", None, SLA, ("a.x",), hours(3), failure="int_a failed: column y does not exist")
    found = verdict_of("gold.m", [Table("a.x", SLA, hours(1))], [mart])
    assert (found.state, found.because) == ("behind", "int_a failed: column y does not exist")


MANIFEST: dict[str, Any] = {
    "groups": {"group.p.sales": {"name": "sales", "owner": {"name": "Sales data"}}},
    "sources": {
        "source.p.shop.orders__items": {"identifier": "shop__orders__items"},
        "source.p.shop.tags": {"identifier": "shop__tags"},
    },
    "nodes": {
        "model.p.stg": {"resource_type": "model", "name": "stg", "schema": "silver", "alias": "stg", "config": {}},
        "model.p.fct": {
            "resource_type": "model", "name": "fct", "schema": "gold", "alias": "fct_v2",
            "config": {"group": "sales", "meta": {"sla": "90m"}},
        },
        "test.p.t": {"resource_type": "test", "name": "t", "schema": "x", "config": {}},
    },
    "parent_map": {
        "model.p.stg": ["source.p.shop.orders__items"],
        "model.p.fct": ["model.p.stg", "source.p.shop.tags"],
        "test.p.t": ["model.p.fct"],
    },
}  # fmt: skip


def test_lineage_reaches_through_models_to_the_tables() -> None:
    stg, fct = lineage.nodes_of(MANIFEST)
    assert (stg.relation, stg.layer, stg.owner, stg.sla_seconds) == ("silver.stg", "silver", None, None)
    assert (fct.relation, fct.owner, fct.sla_seconds) == ("gold.fct_v2", "Sales data", 5400)
    assert (fct.sources, fct.parents) == (("shop__orders__items", "shop__tags"), ("model.p.stg",))


def test_a_promise_that_cannot_be_read_is_told_and_taken_for_absent() -> None:
    fct = {**MANIFEST["nodes"]["model.p.fct"], "config": {"meta": {"sla": "26 hours", "owner": "ana"}}}
    stg, found = lineage.nodes_of({**MANIFEST, "nodes": {**MANIFEST["nodes"], "model.p.fct": fct}})
    assert (found.sla_seconds, found.owner, stg.problem) == (None, "ana", None)
    assert found.problem is not None and "'26 hours' is no span of time" in found.problem


def source(**more: Any) -> dict[str, Any]:
    limits = {"warn_after": {"count": 1, "period": "hour"}, "error_after": {"count": 2, "period": "day"}}
    named = {"source_name": "shop", "name": "orders", "schema": "bronze", "identifier": "shop__orders"}
    return {**named, "loaded_at_field": "_loaded_at", "freshness": limits, **more}


def test_the_rule_of_a_source_is_that_of_its_project(tmp_path: Path) -> None:
    manifest = {**MANIFEST, "sources": {"source.p.shop.orders": source(), "source.p.shop.x": source(freshness=None)}}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    project = lineage.read(tmp_path / "manifest.json")
    assert project is not None and len(project.nodes) == 2
    (rule,) = project.rules
    assert (rule.name, rule.relation, rule.warn_seconds, rule.error_seconds) == (
        "shop.orders", "bronze.shop__orders", 3_600, 172_800
    )  # fmt: skip
    assert rule.query == 'select max(_loaded_at) from "bronze"."shop__orders"'
    assert [rule.status(newest, NOW) for newest in (hours(0.9), hours(1.1), hours(49), None)] == [
        "pass", "warn", "error", "error"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("more", "query"),
    [
        ({"freshness": {"warn_after": {"count": 1, "period": "day"}, "filter": "region = 'eu'"}},
         """select max(_loaded_at) from "bronze"."shop__orders" where region = 'eu'"""),
        ({"loaded_at_query": "select max(t) from {{ this }}"}, 'select max(t) from "bronze"."shop__orders"'),
        ({"loaded_at_field": None}, None),
        ({"freshness": {"warn_after": {"count": None, "period": None}}}, None),
    ],
)  # fmt: skip
def test_what_a_rule_asks(more: dict[str, Any], query: str | None) -> None:
    rule = source_freshness.rule_of(source(**more))
    assert (rule and rule.query) == query


@pytest.mark.parametrize("text", ["", "h", "26", "26 hours", "-1h"])
def test_odd_spans_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="span of time"):
        lineage.seconds_of(text)
