"""Names, kinds, plans, extended JSON and conversion, without a server."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.bronze import canonical, convert, copying, extended, kinds, names
from tasks.bronze.plan import Column, make_plan, reading
from tasks.bronze.rebuild import base_of
from tasks.landing import Manifest
from tasks.landing.kinds import fragment


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("total", "total"),
        ("a.b.c", "a__b__c"),
        ("a\\.b", "a.b"),
        ("a\\\\b\\|c", "a\\b|c"),
        ("", "_empty"),
        ("_hash", "_hash_"),
        ("XMIN", "XMIN_"),
    ],
)
def test_a_path_keeps_its_name(path: str, name: str) -> None:
    assert names.column_name(path, []) == name


@given(st.lists(st.text(max_size=90), unique=True, max_size=30))
def test_names_never_clash_and_always_fit(paths: list[str]) -> None:
    taken: list[str] = []
    for path in paths:
        taken.append(names.column_name(path, taken))
    assert len({name.lower() for name in taken}) == len(paths)
    assert all(0 < len(name.encode()) <= 63 for name in taken)
    assert not {name.lower() for name in taken} & {"_id", "_hash", "ctid", "_rescued", "_deleted_at"}


@given(
    st.lists(st.sampled_from(["\x00", "\\", "\\u0000", "u0000", ".", "a"]), max_size=6)
    .map("".join)
    .map(lambda key: key.replace("\\", "\\\\").replace(".", "\\."))
)
def test_a_path_is_stored_without_nul_and_comes_back(path: str) -> None:
    assert "\x00" not in names.stored(path) and names.landed(names.stored(path)) == path


def test_long_names_sharing_their_first_63_bytes_stay_apart() -> None:
    first = names.column_name("x" * 100, [])
    second = names.column_name("x" * 100 + "y", [first])
    assert first != second and len(first) == len(second) == 63
    assert names.column_name("x" * 100, []) == first


def test_tables_whose_names_join_alike_stay_apart() -> None:
    first = names.relation_name("a", "b__c", "", [])
    assert names.relation_name("a__b", "c", "", [first]) != first == "a__b__c"


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


def test_a_plan_adds_widens_and_spills() -> None:
    known = [Column("a", "a", "int"), Column("gone", "gone", "string")]
    plan = make_plan("", known, ["_id", "a|int", "a|double", "b|string", "c|int"], {}, most_columns=3)
    assert [column.name for column in plan.stored] == ["a", "gone", "b"]
    assert (plan.columns["a"].kind, plan.widened["a"].kind) == ("double", "int")
    assert plan.added == ["b", "c"] and not plan.columns["c"].stored
    plan.keep_narrow("a")
    assert plan.columns["a"].kind == "int" and not plan.retyped


def test_a_column_beside_takes_only_what_those_before_it_cannot() -> None:
    known = [Column("a", "a", "int"), Column("a__double", "a__double", "int")]
    plan = make_plan("", known, ["_id", "a|int", "a|double", "a|decimal"], {})
    plan.put_beside("a", "it is too large")
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


def test_small_letters_keep_the_plain_name_whatever_comes_first() -> None:
    for order in (["Total|int", "total|int"], ["total|int", "Total|int"]):
        plan = make_plan("", [], order, {})
        assert plan.columns["total"].name == "total" and plan.columns["Total"].name.startswith("Total__")


@given(st.floats())
def test_doubles_as_extended_json_come_back_bit_for_bit(value: float) -> None:
    text = fragment("double", value)
    read = json.loads(text)
    number = float(read["$numberDouble"]) if isinstance(read, dict) else read
    assert repr(number) == repr(value) and isinstance(number, float)


@given(st.text())
def test_strings_as_extended_json_come_back_and_never_hold_an_escaped_nul(value: str) -> None:
    text = fragment("string", value)
    assert not extended.has_nul(text)
    assert canonical.canonical(text) == json.dumps(value)


@given(st.text("\\u0", max_size=24).map(json.dumps))
def test_escaped_nul_is_told_from_a_backslash_before_the_same_letters(text: str) -> None:
    assert extended.has_nul(text) == ("\x00" in json.loads(text))


@given(st.text(st.sampled_from(["\x00", "\\", "u", "0", '"', "a"]), max_size=16))
def test_only_nul_is_taken_out_of_json(value: str) -> None:
    assert json.loads(extended.without_nul(json.dumps(value))) == value.replace("\x00", "")


@given(st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31)))
def test_far_dates_are_written_as_the_calendar_says(moment: datetime) -> None:
    since = moment - datetime(1970, 1, 1)
    microseconds = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    assert copying._time_text(microseconds) == f"{moment:%H:%M:%S.%f}+00".join(
        [f"{moment.year:04d}-{moment:%m-%d} ", ""]
    )


def test_dates_before_christ() -> None:
    assert copying._day_text(-719_163) == "0001-12-31 BC"
    assert copying._day_text(-2_440_588) == "4714-11-24 BC"


def converted(frame: pl.DataFrame, *known: Column) -> tuple[list[dict[str, object]], convert.Converted]:
    plan = make_plan("", list(known), frame.columns, {})
    result = convert.convert(frame, plan)
    return result.frame.to_dicts(), result


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


def test_a_rebuild_starts_from_the_last_complete_read() -> None:
    def manifest(number: int, scope: str, previous: dict[str, int]) -> Manifest:
        days = {"account": "a", "day": "d", "parts": []} if scope == "account_days" else {}
        part = {"file": "f", "rows": 1, "bytes": 1, "sha256": "", "columns": []}
        return Manifest.model_validate(
            {
                "source": "s", "table": "t", "batch_id": str(number), "mode": "cdc", "scope": {"type": scope, **days},
                "previous_checkpoint": previous, "parts": [part],
                "extracted_at": datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=number),
            }
        )  # fmt: skip

    assert base_of([]) is None
    assert base_of([manifest(1, "upsert", {"a": 1})]) is None
    assert base_of([manifest(1, "upsert", {}), manifest(2, "upsert", {"a": 1})]) == 0
    assert base_of([manifest(1, "snapshot", {}), manifest(2, "snapshot", {}), manifest(3, "upsert", {"a": 1})]) == 1
    # A read from the beginning brings a channel's last days alone: the older ones are in the batches before.
    assert base_of([manifest(1, "account_days", {}), manifest(2, "account_days", {})]) == 0
    assert base_of([manifest(1, "account_days", {"a": 1}), manifest(2, "account_days", {})]) is None
