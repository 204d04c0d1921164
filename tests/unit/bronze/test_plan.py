"""Which columns a batch needs: new, wider, or beside those that cannot be widened."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.bronze import kinds
from tasks.bronze.capabilities import POSTGRES
from tasks.bronze.plan import Column, make_plan, reading


@pytest.mark.parametrize(
    ("seen", "kind"),
    [
        ({"int": 1}, "int"),
        ({"int": 9, "double": 1}, "double"),
        ({"int": 9, "double": 1, "decimal": 1}, "decimal"),
        ({"string": 5, "int": 3, "double": 3}, "double"),
        ({"string": 6, "int": 3, "double": 2}, "string"),
        ({"int": 2, "string": 2}, "int"),
        ({"day": 1}, "day"),
        ({"day": 1, "date": 1}, "micros"),
        ({"json": 1, "string": 1}, "string"),
    ],
)
def test_the_kind_of_a_new_column(seen: dict[str, int], kind: str) -> None:
    assert kinds.weigh(seen) == kind
    assert kinds.weigh(dict(reversed(seen.items()))) == kind


@given(st.dictionaries(st.sampled_from(sorted(kinds.PG_TYPES)), st.integers(1, 5), min_size=1))
def test_the_kind_does_not_depend_on_the_order_of_seeing(seen: dict[str, int]) -> None:
    assert (
        len({kinds.weigh(dict(order)) for order in (seen.items(), reversed(seen.items()), sorted(seen.items()))}) == 1
    )


def test_a_declared_kind_is_the_columns_whatever_comes() -> None:
    plan = make_plan("", [], ["_id", "a|int", "a|string"], {"a": {"string": 9, "int64": 1}}, declared={"a": "int"})
    assert plan.columns["a"].kind == "int"
    again = make_plan("", plan.every, ["_id", "a|int", "a|double"], {}, declared={"a": "int"})
    assert not again.widened and again.taking("a", "double") == []
    # A column that was there before the declaration is widened as ever: its values stay.
    older = make_plan("", [Column("a", "a", "int")], ["_id", "a|double"], {}, declared={"a": "double"})
    assert older.columns["a"].kind == "double"


def test_a_plan_adds_widens_and_spills() -> None:
    known = [Column("a", "a", "int"), Column("gone", "gone", "string")]
    small = replace(POSTGRES, most_columns=3)
    plan = make_plan("", known, ["_id", "a|int", "a|double", "b|string", "c|int"], {}, capabilities=small)
    assert [column.name for column in plan.stored] == ["a", "gone", "b"]
    assert (plan.columns["a"].kind, plan.widened["a"].kind) == ("double", "int")
    assert plan.added == ["b", "c"] and not plan.columns["c"].stored
    plan.keep_narrow("a")
    assert plan.columns["a"].kind == "int" and not plan.retyped


def test_a_column_beside_takes_only_what_those_before_it_cannot() -> None:
    known = [Column("a", "a", "int"), Column("a__double", "a__double", "int")]
    plan = make_plan("", known, ["_id", "a|int", "a|double", "a|decimal"], {})
    plan.add_variant("a", "it is too large")
    assert (plan.columns["a"].kind, plan.widened, plan.retyped) == ("int", {}, set())
    assert [column.name for column in plan.new] == ["a__decimal"] and plan.changes_relation
    again = make_plan("", [*known, *plan.new], ["_id", "a|int", "a|double", "a|decimal"], {})
    assert again.of("a") == plan.of("a") and not (again.widened or again.new)
    assert [[column.name for column in again.taking("a", kind)] for kind in ("int", "double", "string")] == [
        ["a", "a__decimal"],
        ["a__decimal"],
        [],
    ]


def test_whole_numbers_that_no_double_represents_ask_for_a_decimal_where_none_is_yet() -> None:
    double, decimal = Column("a", "a", "double"), Column("a", "a__decimal", "decimal")
    landed = ["_id", "a|int", "b|double", "c|int", "c|double", "d|int"]
    beyond = {"a", "c", "d"}
    assert not make_plan("", [double], landed, {}).widened
    assert not make_plan("", [double, decimal], landed, {}, beyond_double=beyond).widened
    assert not make_plan("", [replace(double, stored=False)], landed, {}, beyond_double=beyond).retyped
    wider = make_plan("", [double], landed, {}, beyond_double=beyond)
    # Among whole numbers alone they are at home.
    assert wider.columns["d"].kind == "int"
    assert wider.columns["a"] == replace(double, kind="decimal") and wider.widened == {"a": double}
    # No whole number came with `b`.
    assert [wider.columns[path].kind for path in "bc"] == ["double", "decimal"]


def test_columns_of_a_field_are_read_as_one_without_rounding_or_time_zone() -> None:
    numbers = [Column("a", 'a"b', "int"), Column("a", "a__double", "double"), Column("a", "a__decimal", "decimal")]
    assert reading(numbers) == 'coalesce("a__decimal", "a__double"::text::numeric, "a""b")'
    days = [Column("d", "d", "day"), Column("d", "d__micros", "micros")]
    assert reading(days) == """coalesce("d__micros", "d"::timestamp at time zone 'UTC')"""
