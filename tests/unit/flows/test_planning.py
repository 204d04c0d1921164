"""Plans: every table once, large ones alone, ranges complete, groups worth their start."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks import planning
from tasks.planning import TableLoad, Target, parse_target, plan, range_count, with_batch
from tasks.resources import TABLE_CLASSES

_loads = st.lists(
    st.builds(
        TableLoad,
        name=st.from_regex(r"[a-z]{1,6}\.[a-z]{1,8}", fullmatch=True),
        resources=st.sampled_from(TABLE_CLASSES),
        ranges=st.integers(1, 16),
        seconds=st.none() | st.floats(0, 5000),
        bytes=st.none() | st.integers(0, 1 << 36),
    ),
    unique_by=lambda load: load.name,
    max_size=120,
)


@given(_loads, st.booleans())
def test_every_table_is_extracted_and_loaded_exactly_once(loads: list[TableLoad], spread: bool) -> None:
    units = plan(loads, spread)
    assert sorted(table for unit in units for table in unit.tables) == sorted(load.name for load in loads)
    for unit in units:
        targets = [parse_target(name) for group in unit.extracts for name in group.targets]
        assert {target.table for target in targets} == set(unit.tables)
        whole = [target for target in targets if not target.count]
        if whole:
            assert len(targets) == len(unit.tables)
        else:
            assert [target.index for target in targets] == list(range(1, targets[0].count + 1))


@given(_loads, st.booleans())
def test_groups_keep_their_bounds_and_names_are_unique(loads: list[TableLoad], spread: bool) -> None:
    units = plan(loads, spread)
    weights = {load.name: planning.UNKNOWN_SECONDS if load.seconds is None else load.seconds for load in loads}
    for unit in units:
        if unit.resources == "large":
            assert len(unit.tables) == 1
        assert len(unit.tables) <= planning.GROUP_TABLES
        if len(unit.tables) > 1:
            assert sum(weights[name] for name in unit.tables) <= planning.GROUP_SECONDS
    names = [group.name for unit in units for group in unit.extracts]
    if len({load.name.replace("_", "-") for load in loads}) == len(loads):
        assert len(set(names)) == len(names)


@given(_loads)
def test_a_plan_does_not_depend_on_the_order_of_the_tables(loads: list[TableLoad]) -> None:
    assert plan(loads) == plan(list(reversed(loads)))


def test_a_hundred_small_tables_cost_two_runs() -> None:
    loads = [TableLoad(f"shop.t{number:03}", seconds=1.0) for number in range(100)]
    assert [len(unit.tables) for unit in plan(loads)] == [50, 50]


def test_size_lifts_a_table_out_of_its_configured_class() -> None:
    units = plan([TableLoad("shop.orders", "small", bytes=3 << 30), TableLoad("shop.tags", "small", bytes=10)])
    assert [(unit.name, unit.resources) for unit in units] == [("large-shop-orders", "large"), ("small-1", "small")]


def test_first_loads_begin_early_but_for_small_tables_that_would_hold_a_pod() -> None:
    first = [TableLoad(f"shop.{resources}", resources, first=True) for resources in TABLE_CLASSES]
    loads = [*first, TableLoad("shop.known")]
    assert [unit.ahead for unit in plan(loads)] == [("shop.large",), ("shop.medium",), ("shop.small",)]
    assert [unit.ahead for unit in plan(loads, spread=True)] == [("shop.large",), ("shop.medium",), ()]


def test_a_group_that_is_alone_in_its_process_loads_each_table_as_soon_as_it_is_extracted() -> None:
    alone = [TableLoad("shop.new", first=True), TableLoad("shop.known")]
    assert [unit.ahead for unit in plan(alone)] == [("shop.known", "shop.new")]
    assert [unit.ahead for unit in plan(alone, spread=True)] == [()]
    assert [unit.ahead for unit in plan([*alone, TableLoad("shop.large", "large")])] == [(), ("shop.new",)]


@pytest.mark.parametrize(
    ("load", "count"),
    [
        (TableLoad("a.b", "large", 4), 4),
        (TableLoad("a.b", "large", 4, bytes=1 << 30), 2),
        (TableLoad("a.b", "large", 4, bytes=1 << 20), 1),
        (TableLoad("a.b", "large", 1), 1),
        (TableLoad("a.b", "small", 4), 1),
        (TableLoad("a.b", "large", 1, bytes=1 << 40), 1),
    ],
)
def test_ranges_only_where_they_pay(load: TableLoad, count: int) -> None:
    assert range_count(load) == count


def test_ranges_get_their_batch_when_it_was_planned() -> None:
    (unit,) = plan([TableLoad("shop.orders", "large", 4)], spread=True)
    assert planning.is_split(unit)
    joined = with_batch(unit, "20260101T000000000000Z-00000000", 2)
    assert [group.targets for group in joined.extracts] == [
        ("shop.orders#1/2@20260101T000000000000Z-00000000",),
        ("shop.orders#2/2@20260101T000000000000Z-00000000",),
    ]
    assert parse_target(joined.extracts[1].targets[0]).segment == (1, 2)


@given(st.integers(1, 256).flatmap(lambda count: st.tuples(st.integers(1, count), st.just(count))), st.booleans())
def test_names_of_targets_round_trip(segment: tuple[int, int], with_id: bool) -> None:
    target = Target("shop.orders", *segment, "20260101T000000000000Z-0a1b2c3d" if with_id else None)
    assert parse_target(str(target)) == target


@pytest.mark.parametrize("name", ["", "shop.orders#0/4", "shop.orders#5/4", "shop.orders#1", "a b", "shop.orders@x"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError):
        parse_target(name)


def test_a_table_named_twice_is_refused() -> None:
    with pytest.raises(ValueError, match=r"shop\.orders"):
        plan([TableLoad("shop.orders"), TableLoad("shop.orders")])
