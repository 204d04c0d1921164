"""Landed kinds: one table that decoders, planner and configuration agree with, and exact reading from text."""

from __future__ import annotations

import json
import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, get_args
from uuid import uuid4

import bson
import polars as pl
import pytest
from bson.binary import Binary, UuidRepresentation
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.objectid import ObjectId
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.bronze import kinds as bronze
from tasks.landing.decoder import KINDS as DECODED
from tasks.landing.decoder import TYPE_KINDS, make_decoder, native_available
from tasks.landing.kinds import KINDS, dtype_of, fragment, plain
from tasks.sources import Kind

_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?", re.ASCII)
_AT = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)

READ: dict[str, dict[str, Any]] = {
    "int": {"0": 0, "-7": -7, "9223372036854775807": (1 << 63) - 1},
    "double": {
        "1.5": 1.5,
        "12.50": 12.5,
        "-0.0": -0.0,
        "1e3": 1000.0,
        "0.1": 0.1,
        "9007199254740993.0": None,
        "1.7976931348623157E+308": 1.7976931348623157e308,
        "Infinity": float("inf"),
    },
    "decimal": {
        "0.10": "0.10",
        "-0": "-0",
        "1e3": "1E+3",
        "123456789012345678901234567890.5": "123456789012345678901234567890.5",
    },
    "string": {"": "", "x": "x"},
    "bool": {"true": True, "false": False},
    "date": {
        "2026-01-02T03:04:05.678Z": _AT,
        "2026-01-02 03:04:05.678000+00:00": _AT,
        "2026-01-02T03:04": datetime(2026, 1, 2, 3, 4, tzinfo=UTC),
    },
    "objectid": {"0123456789abcdef01234567": "0123456789abcdef01234567"},
    "uuid": {"01234567-89ab-cdef-0123-456789abcdef": "01234567-89ab-cdef-0123-456789abcdef"},
    "binary": {"": b"", "AAE=": b"\x00\x01"},
    "json": {'{"a": [1.0, null]}': '{"a": [1.0, null]}', "1": "1"},
    "day": {"2026-02-28": date(2026, 2, 28), "0001-01-01": date(1, 1, 1)},
    "micros": {"2026-01-02T03:04:05.678000": _AT, "9999-12-31T23:59:59.999999Z": datetime.max.replace(tzinfo=UTC)},
}
REFUSED: dict[str, list[str]] = {
    "int": ["", "0005", "+5", "-0", "1.0", "1e3", "9223372036854775808", " 5", "5\n", "\u0665", "1_000"],
    "double": [
        "",
        "0.12345678901234567890",
        "9007199254740993",
        "1e400",
        "1e-400",
        "+1.5",
        "01.5",
        ".5",
        "5.",
        "inf",
        "nan",
        "\uff11",
    ],
    "decimal": ["", "+5", "0005", "\u0665", "1_000", "NaN", ".5", "5.", "0x1"],
    "string": [],
    "bool": ["", "TRUE", "1", "yes"],
    "date": [
        "2026-01-02",
        "2026-01-02T03:04:05.6789Z",
        "2026-01-02T03:04:05+02:00",
        "2026-02-30T00:00:00Z",
        "20260102T030405Z",
        "now",
    ],
    "objectid": ["0123456789ABCDEF01234567", "0123456789abcdef0123456", "x"],
    "uuid": ["01234567-89AB-CDEF-0123-456789ABCDEF", "0123456789abcdef0123456789abcdef", "x"],
    "binary": ["AAE", "AAF=", "AA E=", "é"],
    "json": ["", "{", "NaN", '{"a": Infinity}', "[" * 100_000],
    "day": ["20260228", "2026-02-30", "2026-W01-1", "2026-02-28T00:00:00", "\u0662\u0660\u0662\u0666-02-28"],
    "micros": ["2026-01-02T03:04:05.1234567", "2026-01-02T24:00:00", "2026-01-02"],
}


def read(kind: str, *texts: str | None) -> list[Any]:
    found = KINDS[kind].parse(pl.Series("x", texts, dtype=pl.String))
    assert (found.name, found.dtype, len(found)) == ("x", KINDS[kind].dtype, len(texts))
    return found.to_list()


def test_the_kinds_of_the_configuration_the_decoder_and_the_planner_are_those_of_the_table() -> None:
    assert set(get_args(Kind)) == set(KINDS) == set(READ) == set(REFUSED)
    assert [kind for kind in KINDS if kind in DECODED] == list(DECODED)
    assert {kind for kind in TYPE_KINDS.values() if kind} == set(DECODED)
    for name, kind in KINDS.items():
        assert bronze.counts({"x": [name]}, {"x": {kind.statistics: 7, "null": 1}}) == {"x": {name: 7}}


@pytest.mark.parametrize("implementation", ["native", "reference"])
def test_each_decoder_gives_columns_of_the_types_in_the_table(implementation: Any) -> None:
    if implementation == "native" and not native_available():
        pytest.skip("the native decoder is not installed")
    values = {
        "int": Int64(5),
        "double": 1.5,
        "decimal": Decimal128("1.50"),
        "string": "x",
        "bool": True,
        "date": _AT,
        "objectid": ObjectId(),
        "uuid": Binary.from_uuid(uuid4(), UuidRepresentation.STANDARD),
        "binary": b"\x00",
        "json": [1],
    }
    assert set(values) == set(DECODED)
    decoder = make_decoder(implementation=implementation)
    decoder.push(bson.encode({"_id": 1, **values}))
    frame = decoder.flush().tables[""]
    assert {name: frame.schema[name] for name in frame.columns if "|" in name} == {
        f"{kind}|{kind}": KINDS[kind].dtype for kind in values
    }
    assert all(dtype_of(name) == frame.schema[name] for name in frame.columns if "|" in name)


@pytest.mark.parametrize("kind", READ)
def test_what_is_exactly_of_a_kind_is_read_and_all_else_is_refused(kind: str) -> None:
    texts, values = list(READ[kind]), list(READ[kind].values())
    found = read(kind, *texts, None)
    assert found == [*values, None]
    assert [str(value) for value in found] == [str(value) for value in [*values, None]], "the sign of a zero, too"
    assert read(kind, *REFUSED[kind]) == [None] * len(REFUSED[kind])
    assert read(kind) == []


@settings(deadline=None)
@given(st.one_of(st.text(max_size=8), st.from_regex(r"\A[-+]?[0-9]{1,24}(\.[0-9]{1,24})?([eE][-+]?[0-9]{1,3})?\Z")))
def test_a_number_is_read_where_its_value_is_kept_and_only_there(text: str) -> None:
    plain_number = _NUMBER.fullmatch(text) is not None
    (whole,), (floating,), (exact,) = read("int", text), read("double", text), read("decimal", text)
    integral = plain_number and re.fullmatch(r"-?[0-9]+", text) is not None and text != "-0"
    assert whole == (int(text) if integral and -(1 << 63) <= int(text) < 1 << 63 else None)
    if text not in ("NaN", "Infinity", "-Infinity"):
        told = (
            plain_number
            and float(text) not in (float("inf"), float("-inf"))
            and Decimal(repr(float(text))) == Decimal(text)
        )
        assert floating == (float(text) if told else None)
    assert (exact is None) == (not plain_number)
    if exact is not None:
        assert Decimal(exact).as_tuple() == Decimal(text).as_tuple()


@pytest.mark.parametrize("kind", KINDS)
def test_a_value_has_one_json_text_whatever_it_is(kind: str) -> None:
    values = pl.Series([value for value in READ[kind].values() if value is not None], dtype=KINDS[kind].dtype)
    texts = [fragment(kind, value) for value in plain(values, kind)]
    assert len({json.dumps(json.loads(text)) for text in texts}) == values.n_unique()


def test_times_beyond_the_calendar_of_python_have_a_json_text() -> None:
    far = pl.Series([1 << 62, -(1 << 62)]).cast(pl.Datetime("ms", "UTC"))
    assert [fragment("date", value) for value in plain(far, "date")] == [
        f'{{"$date":{{"$numberLong":"{value}"}}}}' for value in (1 << 62, -(1 << 62))
    ]
    assert fragment("date", int(timedelta(days=365).total_seconds() * 1000)) == '{"$date":"1971-01-01T00:00:00Z"}'
