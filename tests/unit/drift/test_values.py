"""New values, constants that changed, and units, from counts alone."""

from __future__ import annotations

import math
import random
from collections import Counter

import pytest

from tasks.drift.values import Sizes, Values, median, new_value, unit_changed
from tasks.landing.seen import PER_DECADE


def _kind(known: Values, values: dict[str, int], *, many: bool = False) -> str | None:
    told = new_value(known, values, many=many)
    return told.kind if told else None


def test_a_new_value_of_an_enumeration_is_told_once_with_what_it_came_beside() -> None:
    known = Values()
    assert _kind(known, {'"open"': 800, '"paid"': 200}) is None
    told = new_value(known, {'"open"': 80, '"partially_paid"': 2}, many=False)
    assert told is not None and told.kind == "new_value"
    assert told.evidence == {
        **{"values": ['"open"', '"paid"'], "new": ['"partially_paid"'], "rows_before": 1_000, "rows": 82, "count": 2}
    }
    assert _kind(known, {'"partially_paid"': 80}) is None
    assert _kind(known, {'"lost"': 2}) == "new_value"


def test_a_rare_new_value_waits_for_more_rows_and_is_not_forgotten() -> None:
    known = Values()
    _kind(known, {'"open"': 500, '"paid"': 500})
    found = [_kind(known, {'"open"': 99, '"odd"': 1}) for _ in range(8)]
    assert found.count("new_value") == 1 and found[0] is None


@pytest.mark.parametrize(
    "before",
    [
        {'"open"': 30, '"paid"': 10},
        {'"open"': 800, '"paid"': 1},
        {'"2026-01"': 400, '"2026-02"': 400},
        {"1.0": 500, "2.0": 400},
    ],
    ids=["too few rows", "a value seen once", "months", "numbers"],
)
def test_what_is_no_enumeration_has_no_new_value(before: dict[str, int]) -> None:
    known = Values()
    assert _kind(known, before) is None
    new = '"2026-03"' if '"2026-01"' in before else "3.0" if "1.0" in before else '"lost"'
    assert _kind(known, {**before, new: 3}) is None


def test_a_field_of_too_many_values_is_watched_no_more() -> None:
    known = Values()
    _kind(known, {f'"{letter}"': 100 for letter in "abcdefgh"})
    assert _kind(known, {}, many=True) is None
    assert _kind(known, {'"z"': 100}) is None


def test_a_constant_that_changed_is_told_and_is_a_constant_again() -> None:
    known = Values()
    assert _kind(known, {"2.0": 200}) is None
    assert _kind(known, {"3.0": 20}) == "constant_changed"
    assert _kind(known, {"3.0": 20}) is None
    assert _kind(known, {'"a"': 20}) == "constant_changed"
    # One of ten is what chance may do.
    known = Values()
    _kind(known, {"true": 10})
    assert _kind(known, {"true": 9, "false": 1}) is None


def _steps(numbers: list[float]) -> Counter[int]:
    return Counter(math.floor(math.log10(number) * PER_DECADE) for number in numbers)


@pytest.mark.parametrize("factor", [0.001, 0.01, 0.1, 12, 100, 1_000])
def test_a_median_that_moved_by_a_factor_is_told_once(factor: float) -> None:
    chosen = random.Random(7)
    prices = [chosen.lognormvariate(3, 0.8) for _ in range(3_000)]
    known = Sizes()
    for start in range(0, 2_000, 100):
        assert unit_changed(known, _steps(prices[start : start + 100])) is None
    found = unit_changed(known, _steps([price * factor for price in prices[2_000:2_050]]))
    assert found is not None and factor / 2 < found["factor"] < factor * 2
    assert unit_changed(known, _steps([price * factor for price in prices[2_050:]])) is None


def test_few_numbers_are_pooled_and_what_moves_within_its_spread_is_not_told() -> None:
    chosen = random.Random(8)
    known = Sizes()
    unit_changed(known, _steps([chosen.lognormvariate(0, 3) for _ in range(500)]))
    for _ in range(300):
        assert unit_changed(known, _steps([chosen.lognormvariate(0, 3) for _ in range(3)])) is None
    known = Sizes()
    unit_changed(known, _steps([10.0] * 100))
    found = [unit_changed(known, _steps([1_000.0] * 3)) for _ in range(4)]
    assert [one is not None for one in found] == [False, False, False, True]


def test_the_median_is_told_within_a_step() -> None:
    numbers = [10 ** (exponent / 100) for exponent in range(200, 300)]
    assert median(_steps(numbers)) == pytest.approx(2.5, abs=0.02)
