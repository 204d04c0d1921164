"""What of a project has to be built, and what must not be shown: by hand on a small project."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tasks.dbt.graph import BuildPlan, Built, Graph, Node, NodeTest, State, groups, held_back

T0 = datetime(2026, 1, 1, tzinfo=UTC)


def node(materialized: str, *parents: str, version: str = "1", package: str = "own", name: str = "") -> Node:
    return Node("gold", name, materialized, package, version, parents)


def graph(**nodes: Node) -> Graph:
    """orders -> stg (view) -> fct (table) -> rpt (table) <- spend (view) <- ads; calendar has no source."""
    made = {
        "stg": node("view", "s.orders"),
        "fct": node("table", "stg"),
        "spend": node("view", "s.ads"),
        "calendar": node("table", package="core"),
        "rpt": node("table", "fct", "spend", "calendar"),
        "own": node("table"),
    } | nodes
    named = {
        key: Node(one.schema, key, one.materialized, one.package, one.fingerprint, one.parents)
        for key, one in made.items()
    }
    tests = {"t.fct": NodeTest(("fct", "stg")), "t.rpt": NodeTest(("rpt",)), "u.fct": NodeTest(("fct",), unit=True)}
    return Graph("own", named, tests, {"s.orders": "shop.orders", "s.ads": "ads.meta"})


def state(
    made: Graph, changed: dict[str, int], without: tuple[str, ...] = (), held: dict[str, int] | None = None
) -> State:
    """Everything was built at hour 10, unless `held` says otherwise; tables changed at the hours given."""
    hours = dict.fromkeys(made.nodes, 10) | (held or {})
    built = {
        key: Built("1", T0 + timedelta(hours=hours[key]), made.tested()[key])
        for key in made.nodes
        if key not in without
    }
    present = {one.relation for key, one in made.nodes.items() if key not in without}
    return State(built, {name: T0 + timedelta(hours=hour) for name, hour in changed.items()}, present)


BOTH = {"shop.orders": 5, "ads.meta": 5}


@pytest.mark.parametrize(
    ("changed", "names", "expected"),
    [
        (BOTH, set(BOTH), set()),
        (BOTH | {"shop.orders": 11}, set(BOTH), {"stg", "fct", "rpt"}),
        # At the very moment of the build nobody can tell which came first.
        (BOTH | {"shop.orders": 10}, set(BOTH), {"stg", "fct", "rpt"}),
        (BOTH | {"ads.meta": 11}, set(BOTH), {"spend", "rpt"}),
        (BOTH | {"ads.meta": 11}, {"shop.orders"}, {"rpt", "spend"}),
        ({}, set(BOTH), set()),
    ],
)
def test_only_what_lacks_changes_is_built(changed: dict[str, int], names: set[str], expected: set[str]) -> None:
    made = graph()
    assert BuildPlan(made, state(made, changed)).stale(names, whole=False) == expected


def test_a_changed_model_is_built_though_no_table_changed() -> None:
    made = graph(fct=node("table", "stg", version="2"))
    assert BuildPlan(made, state(made, BOTH)).stale(set(BOTH), whole=False) == {"fct"}
    assert BuildPlan(made, state(made, BOTH)).stale({"ads.meta"}, whole=False) == set()


def test_models_above_a_table_whose_rows_were_replaced_are_built_from_nothing() -> None:
    made = graph(fct=node("incremental", "stg"), snap=node("snapshot", "stg"), spent=node("incremental", "spend"))
    before = state(made, BOTH | {"shop.orders": 11})
    plan = BuildPlan(made, replace(before, replaced={"shop.orders": T0 + timedelta(hours=11)}))
    assert plan.stale({"shop.orders"}, whole=False) == {"stg", "fct", "snap", "rpt"}
    kept = {key: plan.keeps_rows(key, full_refresh=False) for key in ("fct", "snap", "spent")}
    assert kept == {"fct": False, "snap": True, "spent": True}
    # Built since, it goes on from its rows.
    assert BuildPlan(made, replace(before, replaced={"shop.orders": T0 + timedelta(hours=9)})).keeps_rows("fct", False)


def test_changed_tests_build_the_last_of_the_models_that_they_read() -> None:
    made = graph()
    before = state(made, BOTH)
    tests = {**made.tests, "t.fct": replace(made.tests["t.fct"], fingerprint="2")}
    assert BuildPlan(replace(made, tests=tests), before).stale(set(BOTH), whole=False) == {"fct"}
    without = {key: test for key, test in made.tests.items() if key != "t.rpt"}
    assert BuildPlan(replace(made, tests=without), before).stale(set(BOTH), whole=False) == {"rpt"}
    # Only the changed unit test's model has its unit tests run again.
    changed = {**made.tests, "u.fct": replace(made.tests["u.fct"], fingerprint="2")}
    plan = BuildPlan(replace(made, tests=changed), before)
    assert plan.tests({"fct", "rpt"}) == {"t.fct", "t.rpt", "u.fct"}
    assert BuildPlan(made, before).tests({"fct", "rpt"}) == {"t.fct", "t.rpt"}


def test_what_was_never_built_comes_with_what_reads_it() -> None:
    made = graph()
    plan = BuildPlan(made, state(made, {"shop.orders": 11}, without=("spend", "calendar", "rpt")))
    assert plan.stale({"shop.orders"}, whole=False) == {"stg", "fct", "rpt", "spend", "calendar"}


def test_models_without_source_are_built_in_whole_runs_if_they_are_of_the_project() -> None:
    made = graph()
    plan = BuildPlan(made, state(made, {}, without=("own", "calendar")))
    assert plan.stale(set(BOTH), whole=False) == set()
    assert plan.stale(set(BOTH), whole=True) == {"own"}


def test_a_table_that_failed_is_read_as_it_is_but_views_over_its_rows_are_tested() -> None:
    made = graph(rpt=node("table", "fct", "stg", "spend"))
    plan = BuildPlan(made, state(made, {"shop.orders": 11, "ads.meta": 12}))
    assert plan.with_needed(iter(["spend", "rpt"])) == {"spend", "rpt", "stg"}


def test_what_reads_a_table_that_lacks_changes_holds_no_more_than_that() -> None:
    made = graph()
    plan = BuildPlan(made, state(made, {"shop.orders": 11, "ads.meta": 12}, held={"fct": 9}))
    began = T0 + timedelta(hours=20)
    until = plan.holds_until({"spend", "rpt"}, began)
    assert until == {"spend": began, "rpt": T0 + timedelta(hours=9)}
    # A table that lacks nothing limits nobody, however long ago it was built.
    fresh = BuildPlan(made, state(made, {"shop.orders": 5, "ads.meta": 12}, held={"fct": 9}))
    assert fresh.holds_until({"spend", "rpt"}, began)["rpt"] == began


def test_tests_run_where_all_they_read_is_there_and_unit_tests_where_the_model_is_new() -> None:
    made = graph()
    plan = BuildPlan(made, state(made, BOTH, without=("stg",)))
    assert plan.tests({"fct"}) == set()
    assert plan.tests({"fct", "stg"}) == {"t.fct"}
    assert plan.tests({"fct", "stg"}, unit=True) == {"t.fct", "u.fct"}
    changed = graph(fct=node("table", "stg", version="2"))
    assert BuildPlan(changed, state(changed, BOTH)).tests({"fct"}) == {"t.fct", "u.fct"}


def test_groups_share_no_reference_and_no_test() -> None:
    made = graph()
    assert set(groups(made, {"stg", "fct", "spend", "own"}, {"t.fct"})) == {
        frozenset({"stg", "fct"}),
        frozenset({"spend"}),
        frozenset({"own"}),
    }
    everything = set(made.nodes)
    assert held_back(made, everything, {"t.fct", "t.rpt"}, {"t.fct"}) == everything - {"own"}
    assert held_back(made, {"spend", "own"}, set(), {"spend"}) == {"spend"}
    assert held_back(made, everything, set(), set()) == set()


@pytest.mark.parametrize(
    ("materialized", "version", "refresh", "expected"),
    [
        ("incremental", "1", False, True),
        ("incremental", "1", True, False),
        ("incremental", "2", False, False),
        ("snapshot", "2", True, True),
        ("table", "1", False, False),
    ],
)
def test_rows_are_kept_where_the_model_goes_on_from_them(
    materialized: str, version: str, refresh: bool, expected: bool
) -> None:
    made = graph(fct=node(materialized, "stg", version=version))
    assert BuildPlan(made, state(made, BOTH)).keeps_rows("fct", refresh) is expected
    assert not BuildPlan(made, state(made, BOTH, without=("fct",))).keeps_rows("fct", refresh)


def test_a_graph_survives_json() -> None:
    import json

    made = graph()
    assert Graph.from_json(json.loads(json.dumps(made.to_json()))) == made


def test_models_without_source_of_packages_come_with_the_first_that_is_fed() -> None:
    made = graph(rates=node("table", package="core"))
    plan = BuildPlan(made, state(made, BOTH, without=("rates",)))
    assert plan.stale(set(BOTH), whole=True) == {"rates"}
    assert plan.stale(set(), whole=True) == set()
