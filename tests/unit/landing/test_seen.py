"""What landed values look like, counted in bounded memory."""

from __future__ import annotations

import polars as pl
import pytest

from tasks.landing.manifest import FieldStatistics
from tasks.landing.seen import MOST_LETTERS, MOST_VALUES, Seen


def _seen(*frames: pl.DataFrame) -> dict[str, FieldStatistics]:
    seen = Seen()
    fields: dict[str, object] = {}
    for frame in frames:
        seen.add("", frame)
        fields |= {name.rpartition("|")[0]: {} for name in frame.columns if "|" in name}
    found = seen.add_to({"": {"rows": 0, "fields": fields}})
    return {path: FieldStatistics.model_validate(field) for path, field in found[""]["fields"].items()}


def test_few_values_are_counted_as_json_and_many_only_said_to_be_many() -> None:
    frame = pl.DataFrame(
        {
            "_id": [str(number) for number in range(100)],
            "status|string": ["open", None, "1", "open"] * 25,
            "paid|bool": [True] * 100,
            "kind|int": [1, 2] * 50,
            "name|string": [f"n{number}" for number in range(100)],
            "long|string": ["x" * (MOST_LETTERS + 1)] * 100,
            "nul|string": ["a\x00b"] * 100,
            "empty|string": pl.Series([None] * 100, dtype=pl.String),
        }
    )
    found = _seen(frame)
    assert found["status"].values == {'"open"': 50, '"1"': 25}
    assert found["paid"].values == {"true": 100}
    assert found["kind"].values == {"1.0": 50, "2.0": 50}
    assert [found[name].many for name in ("name", "long", "nul", "status", "empty")] == [True, True, True, False, False]
    assert found["name"].values == found["empty"].values == {}


def test_values_of_several_parts_and_segments_add_up_or_become_too_many() -> None:
    parts = [pl.DataFrame({"v|string": [f"v{number}"] * 10}) for number in range(MOST_VALUES + 1)]
    few, many = _seen(*parts[:MOST_VALUES])["v"], _seen(*parts)["v"]
    assert len(few.values) == MOST_VALUES and not few.many
    assert many.many and not many.values
    half, other = _seen(*parts[:9])["v"], _seen(*parts[8:])["v"]
    assert half.add(other).many and half.add(other).values == {}
    assert half.add(half).values['"v0"'] == 20


@pytest.mark.parametrize("kind", ["double", "decimal"])
def test_orders_of_magnitude_are_counted_whatever_the_sign_and_without_what_has_none(kind: str) -> None:
    numbers = [0.0, 1.0, -1.0, 99.0, 100.0, 12345.0, 0.01]
    values = [str(number) for number in numbers] if kind == "decimal" else numbers
    odd = ["NaN", None] if kind == "decimal" else [float("nan"), float("inf")]
    found = _seen(pl.DataFrame({f"v|{kind}": [*values, *odd]}))["v"]
    assert found.values == {f"{number}": 1 for number in numbers}
    assert found.magnitudes == {0: 2, 7: 1, 8: 1, 16: 1, -8: 1}
    assert found.add(found).magnitudes[0] == 4


def test_of_a_large_part_both_ends_are_looked_at() -> None:
    frame = pl.DataFrame({"v|int": range(1, 200_001), "s|string": ["old"] * 100_000 + ["new"] * 100_000})
    found = _seen(frame)
    assert sum(found["v"].magnitudes.values()) == 128 and found["v"].many
    assert found["s"].values == {'"old"': 1_024, '"new"': 1_024}
