"""Landed values as those of their columns: what does not fit is rescued with its kind."""

from __future__ import annotations

import json

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from tasks.bronze import canonical, convert
from tasks.bronze.plan import Column, make_plan


def converted(frame: pl.DataFrame, *known: Column) -> tuple[list[dict[str, object]], convert.Converted]:
    plan = make_plan("", list(known), frame.columns, {})
    result = convert.convert(frame, plan)
    return result.frame.to_dicts(), result


@given(st.lists(st.tuples(st.sampled_from([-(2**62), 2**53 + 1, 5]), st.booleans()), min_size=1))
def test_a_number_is_in_one_of_its_columns(rows: list[tuple[int, bool]]) -> None:
    frame = pl.DataFrame(
        {
            "_id": [str(number) for number in range(len(rows))],
            "n|int": [None if odd else value for value, odd in rows],
            "n|double": [0.5 if odd else None for _, odd in rows],
        },
        schema_overrides={"n|int": pl.Int64, "n|double": pl.Float64},
    )
    found, result = converted(frame, Column("n", "n", "double"), Column("n", "m", "decimal"))
    assert [(row["n"], row["m"]) for row in found] == [
        (0.5, None) if odd else (value, None) if value != 2**53 + 1 else (None, str(value)) for value, odd in rows
    ]
    assert result.rescued == 0 and not result.sanitised


def test_a_negative_zero_is_in_the_double_beside_a_numeric_alone() -> None:
    frame = pl.DataFrame({"_id": ["1", "2"], "n|double": [-0.0, 0.5]})
    found, result = converted(frame, Column("n", "n", "decimal"), Column("n", "n__double", "double"))
    assert [(row["n"], str(row["n__double"])) for row in found] == [(None, "-0.0"), ("0.5", "None")]
    assert result.rescued == 0


def test_a_row_with_two_values_of_one_field_equals_no_document() -> None:
    columns = [Column("n", "n", "int"), Column("n", "n__double", "double")]
    assert (
        canonical.of_bronze(columns, [5, None], None) == canonical.of_bronze(columns, [None, 5.0], None) == {"n": "5"}
    )
    assert canonical.of_bronze(columns, [5, 5.0], None) == {"n": "5 beside 5"}


def test_misfits_are_rescued_beside_what_the_decoder_had_set_aside() -> None:
    frame = pl.DataFrame(
        {
            "_id": ["1", "2", "3"],
            "_rescued": [None, '{"x|duplicates":[[1]]}', '{"z":5}'],
            "x|int": [1, None, 3],
            "x|string": [None, "two", None],
            "y|string": ["a\x00b", None, "c"],
        }
    )
    rows, result = converted(frame, Column("x", "x", "int"))
    assert [row["x"] for row in rows] == [1, None, 3]
    assert [row["y"] for row in rows] == ["ab", None, "c"]
    assert [json.loads(str(row["_rescued"])) for row in rows] == [
        {"y": {"$text": {"base64": "YQBi"}}},
        {"x": "two", "x|duplicates": [[1]]},
        {"z": 5},
    ]
    assert result.rescued == 3 and result.misfits == {("x", "string"): 1} and result.sanitised == {("y", "string"): 1}


def test_text_of_another_meaning_is_readable_and_its_kind_kept() -> None:
    oid = "64b000000000000000000001"
    frame = pl.DataFrame({"_id": ["1", "2"], "x|string": ["a", None], "x|objectid": [None, oid]})
    rows, _ = converted(frame, Column("x", "x", "string"))
    assert [row["x"] for row in rows] == ["a", oid]
    assert json.loads(str(rows[1]["_rescued"])) == {"x": {"$oid": oid}}


def test_a_repeated_original_value_of_every_row_costs_no_frame_of_its_own() -> None:
    frame = pl.DataFrame({"_id": ["1"], "d|date": pl.Series([2**62]).cast(pl.Datetime("ms", "UTC"))})
    rows, _ = converted(frame)
    assert rows[0]["d"] is None
    assert json.loads(str(rows[0]["_rescued"])) == {"d": {"$date": {"$numberLong": str(2**62)}}}
