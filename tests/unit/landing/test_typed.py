"""Configured types on text columns: each value is read exactly or stays what it was."""

from __future__ import annotations

from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.landing.typed import Types

_NUMBERLIKE = st.one_of(
    st.text("0123456789+-.eE, ", max_size=12),
    st.decimals(allow_nan=False, allow_infinity=False).map(str),
    st.integers(-(1 << 70), 1 << 70).map(str),
    st.just(""),
    st.none(),
)


def typed(values: list[str | None], kind: str) -> tuple[list[Any], list[Any], dict[str, Any]]:
    """Return what was read, what stayed text, and the statistics of the path."""
    frame = pl.DataFrame({"_id": [str(n) for n in range(len(values))], "x|string": pl.Series(values, dtype=pl.String)})
    types = Types({"x": kind})
    result = types.apply(frame)
    assert result.height == frame.height and result["_id"].to_list() == frame["_id"].to_list()
    none = [None] * len(values)
    read = result[f"x|{kind}"].to_list() if f"x|{kind}" in result.columns else none
    left = result["x|string"].to_list() if "x|string" in result.columns else none
    texts = sum(value is not None for value in values)
    before = {"string": texts, "null": len(values) - texts}
    fields = {"x": {"present": len(values), "types": before, "empty": sum(value == "" for value in values)}}
    return read, left, types.statistics(fields)["x"]


@given(st.lists(_NUMBERLIKE, min_size=1, max_size=20), st.sampled_from(["int", "decimal"]))
def test_a_number_is_read_exactly_or_stays_text(values: list[str | None], kind: str) -> None:
    read, left, field = typed(values, kind)
    for value, number, text in zip(values, read, left, strict=True):
        if not value:
            assert number is None and text is None
        elif number is None:
            assert text == value
        else:
            assert text is None
            assert Decimal(number) == Decimal(value.strip())
    assert field["present"] == len(values) == sum(field["types"].values())
    assert field["types"].get(kind, 0) == sum(number is not None for number in read)
    assert field["types"].get("string", 0) == sum(text is not None for text in left)
    assert field["empty"] == 0


@given(st.lists(st.decimals(allow_nan=False, allow_infinity=False).map(str), min_size=1))
def test_every_decimal_is_read(values: list[str]) -> None:
    read, left, _ = typed(list(values), "decimal")
    assert [Decimal(number) for number in read] == [Decimal(value) for value in values]
    assert left == [None] * len(values)


@given(st.lists(st.integers(-(1 << 63), (1 << 63) - 1), min_size=1))
def test_every_64_bit_integer_is_read(values: list[int]) -> None:
    assert typed([str(value) for value in values], "int")[0] == values


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_doubles_read_back_as_themselves(values: list[float]) -> None:
    assert typed([repr(value) for value in values], "double")[0] == values


@given(st.lists(st.dates(), min_size=1))
def test_days_in_both_writings(values: list[date]) -> None:
    assert typed([day.isoformat() for day in values], "day")[0] == values
    assert typed([day.isoformat().replace("-", "") for day in values], "day")[0] == values


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("day", "2026-02-30"),
        ("day", "2026-W01-1"),
        ("day", "2026-01-02T00:00:00"),
        ("double", "1e400"),
        ("double", "1,5"),
        ("int", "1.0"),
        ("int", "1_000"),
        ("decimal", "1_000"),
        ("decimal", "NaN"),
        ("bool", "maybe"),
        ("micros", "2026-01-02T03:04:05.0000001"),
        ("date", "2026-01-02T03:04:05.0001"),
        ("micros", "yesterday"),
        ("uuid", "not-a-uuid"),
        ("objectid", "xyz"),
        ("json", "{"),
        ("binary", "?"),
    ],
)
def test_what_is_not_exactly_of_the_type_stays_text(kind: str, text: str) -> None:
    read, left, field = typed([text], kind)
    assert (read, left) == ([None], [text])
    assert {name: count for name, count in field["types"].items() if count} == {"string": 1}


def test_numbers_of_other_kinds_move_where_that_is_exact() -> None:
    frame = pl.DataFrame({"x|int": [5, None], "x|decimal": [None, "2.50"], "y|decimal": ["3", "3.5"]})
    result = Types({"x": "decimal", "y": "int"}).apply(frame)
    assert result["x|decimal"].to_list() == ["5", "2.50"]
    assert "x|int" not in result.columns
    assert result["y|int"].to_list() == [3, None]
    assert result["y|decimal"].to_list() == [None, "3.5"]


def test_text_that_looks_like_a_number_is_left_alone_without_a_type() -> None:
    frame = pl.DataFrame({"x|string": ["007"]})
    assert Types({"x": "string"}).apply(frame).equals(frame)


def test_decimal_refuses_what_python_refuses() -> None:
    for text in ("1.2.3", "--1", "e5", "."):
        with pytest.raises(InvalidOperation):
            Decimal(text)
        assert typed([text], "decimal")[1] == [text]
