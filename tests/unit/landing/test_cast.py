"""Casts between landed kinds are exact or refused, and no value of any kind makes one fail."""

from __future__ import annotations

from datetime import UTC, date, datetime
from itertools import product
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.landing.cast import cast, text_of
from tasks.landing.kinds import KINDS, plain
from tasks.landing.transforms import Transforms
from tasks.sources import Transform

_INT64 = st.integers(-(1 << 63), (1 << 63) - 1)
_DECIMALS = st.one_of(
    st.decimals(allow_nan=False, allow_infinity=False).map(str), st.sampled_from(["NaN", "Infinity", "-0", "1E+400"])
)
# As numbers where Python cannot hold all of them.
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "int": st.one_of(_INT64, st.sampled_from([0, 1, (1 << 53) + 1, (1 << 63) - 1])),
    "double": st.floats(),
    "decimal": _DECIMALS,
    "string": st.one_of(st.text(max_size=10), _DECIMALS, st.sampled_from(["true", "2026-01-02", "AAE=", "{}"])),
    "bool": st.booleans(),
    "date": st.one_of(_INT64, st.integers(-(10**7), 10**7).map(lambda days: days * 86_400_000)),
    "objectid": st.binary(min_size=12, max_size=12).map(bytes.hex),
    "uuid": st.uuids().map(str),
    "binary": st.binary(max_size=10),
    "json": st.sampled_from(["{}", "[1]", '"x"', "5", "1.50", "true"]),
    "day": st.integers(-(1 << 31), (1 << 31) - 1),
    "micros": st.one_of(_INT64, st.integers(-(10**7), 10**7).map(lambda days: days * 86_400_000_000)),
}


def column(kind: str, values: list[Any]) -> pl.Series:
    numbers = {"date": pl.Int64(), "micros": pl.Int64(), "day": pl.Int32()}
    return pl.Series("x", values, dtype=numbers.get(kind, KINDS[kind].dtype)).cast(KINDS[kind].dtype)


def told(values: pl.Series, kind: str) -> list[Any]:
    """Return values so that equal means the same value: a zero with its sign, numbers of times."""
    return [repr(value) for value in plain(values, kind)]


# No deadline: what a busy machine takes for an example says nothing. Few examples of each of the 144 pairs are many.
FEW = settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize(("source", "target"), list(product(KINDS, KINDS)))
@FEW
@given(data=st.data())
def test_what_is_cast_casts_back_to_the_same_value(source: str, target: str, data: st.DataObject) -> None:
    values = column(source, data.draw(st.lists(st.none() | VALUES[source], max_size=4)))
    moved = cast(values, source, target)
    assert moved.dtype == KINDS[target].dtype and len(moved) == len(values)
    assert moved.null_count() >= values.null_count()
    held = moved.is_not_null()
    if source in ("string", "decimal") or (source, target) in {("binary", "string")}:
        return  # Text has several spellings of a value; test_kinds compares values. Bytes as text are hex.
    back = cast(moved.filter(held), target, source)
    same = told(back, source) == told(values.filter(held), source)
    assert same, (values.to_list(), moved.to_list(), back.to_list())


@pytest.mark.parametrize(
    ("source", "target", "values", "expected"),
    [
        ("int", "double", [1, (1 << 53) + 1, (1 << 63) - 1], [1.0, None, None]),
        ("int", "decimal", [-5], ["-5"]),
        ("int", "bool", [0, 1, 2], [False, True, None]),
        ("int", "date", [1_000], [datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)]),
        ("double", "int", [5.0, 5.5, -0.0, float("nan"), 1e19, float("inf")], [5, None, None, None, None, None]),
        ("double", "decimal", [0.1, 1e20, -0.0, float("nan")], ["0.1", "1E+20", None, None]),
        ("decimal", "double", ["1.50", "0.12345678901234567890", "1E+400"], [1.5, None, None]),
        ("decimal", "int", ["5", "5.0", "-0"], [5, None, None]),
        ("day", "micros", [0, (1 << 31) - 1], [datetime(1970, 1, 1, tzinfo=UTC), None]),
        ("date", "day", [86_400_000, 86_400_001], [date(1970, 1, 2), None]),
        ("micros", "date", [1_000, 1_001], [datetime(1970, 1, 1, 0, 0, 0, 1000, tzinfo=UTC), None]),
        ("date", "string", [0, 1 << 62], ["1970-01-01 00:00:00.000+00:00", None]),
        ("bool", "string", [True], ["true"]),
        ("objectid", "uuid", ["0123456789abcdef01234567"], [None]),
    ],
)
def test_casts_between_kinds(source: str, target: str, values: list[Any], expected: list[Any]) -> None:
    assert cast(column(source, values), source, target).to_list() == expected


@pytest.mark.parametrize("kind", KINDS)
@FEW
@given(data=st.data())
def test_every_value_has_a_text_and_no_two_have_the_same(kind: str, data: st.DataObject) -> None:
    values = column(kind, data.draw(st.lists(VALUES[kind], max_size=6)))
    texts = text_of(values, kind)
    assert texts.null_count() == 0
    assert len(set(texts)) == len(set(told(values, kind)))


@pytest.mark.parametrize("number", [1 << 62, -(1 << 62), 8_300_000_000_000_000, 253_402_300_800_000])
def test_a_far_date_is_hashed_and_stays_a_date_where_text_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setenv("WAREHOUSE_HASH_KEY", "key")
    frame = pl.DataFrame(
        {
            "_id": ["1", "2"],
            "at|date": column("date", [number, number + 1]),
            "who.at|date": column("date", [number, number + 1]),
        }
    )
    hashed = Transforms([Transform(hash="at"), Transform(hash="who")]).apply(frame)
    assert hashed["at|string"].n_unique() == hashed["who|string"].n_unique() == 2
    kept = Transforms([Transform(cast={"at": "string"})]).apply(frame)
    assert kept["at|date"].equals(frame["at|date"]) and kept["at|string"].null_count() == 2


def test_a_derived_column_survives_a_time_that_polars_cannot_tell() -> None:
    frame = pl.DataFrame(
        {"_id": ["1", "2"], "at|date": column("date", [0, 1 << 62]), "at|int": pl.Series([None, None], dtype=pl.Int64)}
    )
    step = Transform.model_validate({"derive": {"name": "t", "expression": "coalesce(nowhere, 3)", "kind": "int"}})
    assert Transforms([step]).apply(frame)["t|int"].to_list() == [3, 3]


@pytest.mark.parametrize("kind", KINDS)
def test_a_cast_counts_its_values_under_a_name_that_the_planner_knows(kind: str) -> None:
    from tasks.bronze.kinds import counts

    good = {
        "int": "5",
        "double": "1.5",
        "decimal": "1.50",
        "string": "x",
        "bool": "true",
        "json": "{}",
        "binary": "AAE=",
    }
    good |= {"date": "2026-01-02T03:04:05Z", "micros": "2026-01-02T03:04:05.000006Z", "day": "2026-01-02"}
    good |= {"uuid": "01234567-89ab-cdef-0123-456789abcdef", "objectid": "0123456789abcdef01234567"}
    transforms = Transforms([Transform.model_validate({"cast": {"x": kind}})])
    frame = transforms.apply(pl.DataFrame({"_id": ["1", "2"], "x|string": [good[kind], "!!"]}))
    fields = {"x": {"present": 2, "types": {"string": 2}, "empty": 0}}
    told_types = transforms.apply_statistics({"": {"rows": 2, "fields": fields}})[""]["fields"]["x"]["types"]
    kinds = [name.rpartition("|")[2] for name in frame.columns if "|" in name]
    expected = {kind: 1, "string": 1} if kind != "string" else {"string": 2}
    counted = counts({"x": kinds}, {"x": told_types})["x"]
    assert {name: counted[name] for name in expected} == expected
