"""The simulated plan against arithmetic."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.kubernetes.simulate import Assumptions, daily, limits_of, sample, simulate, table
from tasks.planning import TableLoad, plan

WORLD = Assumptions(pod_start=10, table_overhead=1, extract_rate=100, source_rate=250, load_rate=50, warehouse_rate=75)
LIMITS = {"extract/large": 4, "load-bronze/large": 4, "extract/small": 2, "load-bronze/small": 2}


def large(name: str, partitions: int = 1) -> TableLoad:
    return TableLoad(name, "large", partitions, 1000.0, None)


def test_one_table() -> None:
    found = simulate(plan([large("a.b")]), {"a.b": 10_000}, LIMITS, WORLD)
    # Start and table, 100 s of reading; the same and 200 s of loading.
    assert found.seconds == pytest.approx(11 + 100 + 11 + 200)
    assert found.pods == {"extract/large": 1, "load-bronze/large": 1}
    assert found.cpu_hours == pytest.approx(found.seconds / 3600)
    assert found.gib_hours == pytest.approx(4 * found.seconds / 3600)


def test_ranges_share_the_source_and_join_before_one_load() -> None:
    found = simulate(plan([large("a.b", 4)], spread=True), {"a.b": 10_000}, LIMITS, WORLD)
    assert found.pods == {"extract/large": 4, "load-bronze/large": 1}
    # Four pods could read 400 a second, the source gives 250.
    assert found.seconds == pytest.approx(11 + 40 + 11 + 200)
    assert found.peak == 4


def test_limits_make_the_rest_wait() -> None:
    found = simulate(plan([large("a.b", 4)], spread=True), {"a.b": 10_000}, {**LIMITS, "extract/large": 1}, WORLD)
    assert found.peak == 1
    assert found.seconds == pytest.approx(4 * (11 + 25) + 11 + 200)


def test_two_loads_share_the_warehouse() -> None:
    found = simulate(plan([large("a.b"), large("a.c")]), {"a.b": 1_000, "a.c": 1_000}, LIMITS, WORLD)
    assert found.seconds == pytest.approx(11 + 10 + 11 + 2_000 / 75)


def test_the_large_plan_reads_each_byte_once() -> None:
    loads, limits = sample(), limits_of(Path(__file__).parents[3] / "prefect.yaml")
    units = plan(loads, spread=True)
    assert len(loads) == 1_000
    assert sorted(name for unit in units for name in unit.tables) == sorted(load.name for load in loads)
    found = simulate(units, {load.name: load.bytes or 0 for load in loads}, limits, Assumptions())
    total = sum(load.bytes or 0 for load in loads)
    assert found.seconds > total / Assumptions().source_rate
    assert found.pods["extract/large"] > 64
    # A hundred small tables cost a few pods.
    assert found.pods["extract/small"] <= 999 / 20


def test_a_day_with_little_new_splits_nothing() -> None:
    units = plan(daily(sample()), spread=True)
    assert all(len(unit.extracts) == 1 for unit in units)


def test_the_table_is_made_from_the_limits_in_git() -> None:
    limits = limits_of(Path(__file__).parents[3] / "prefect.yaml")
    assert set(limits) == {f"{flow}/{size}" for flow in ("extract", "load-bronze") for size in
                           ("small", "medium", "large", "xlarge")}  # fmt: skip
    assert table(limits).count("\n") == 7
