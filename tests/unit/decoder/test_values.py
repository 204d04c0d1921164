"""Every BSON type: its column, its extended JSON and its place in the statistics, from the specification's tables."""

from __future__ import annotations

import math
import random
import struct
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import bson
import polars as pl
import pytest
from bson import json_util
from bson.son import SON
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.landing.decoder import TYPE_KINDS, Decoder, make_decoder
from tasks.landing.decoder.bson_walk import escape_key
from tests.unit.decoder import bson_bytes as b
from tests.unit.decoder.agreement import drain
from tests.unit.decoder.conftest import NEEDS_NATIVE

Make = Callable[..., Decoder]

OID = "56e1fc72e0c917e9c4714161"
UUID_BYTES = bytes(range(16))
UUID_TEXT = "00010203-0405-0607-0809-0a0b0c0d0e0f"
BAD_UTF8 = '{"$text":{"base64":"YP9i"}}'

# Value; type name; kind; what the column holds (for kind json this is its text); extended JSON within an array.
SCALARS: list[tuple[b.Value, str, str, Any, str]] = [
    (b.int32(0), "int32", "int", 0, "0"),
    (b.int32(-(2**31)), "int32", "int", -(2**31), "-2147483648"),
    (b.int32(2**31 - 1), "int32", "int", 2**31 - 1, "2147483647"),
    (b.int64(-(2**63)), "int64", "int", -(2**63), "-9223372036854775808"),
    (b.int64(2**63 - 1), "int64", "int", 2**63 - 1, "9223372036854775807"),
    (b.double(1.0), "double", "double", 1.0, "1.0"),
    (b.double(0.0), "double", "double", 0.0, "0.0"),
    (b.double(-1.0001220703125), "double", "double", -1.0001220703125, "-1.0001220703125"),
    (b.double(1.2345678921232e18), "double", "double", 1.2345678921232e18, "1.2345678921232e+18"),
    (b.double(9999999999999998.0), "double", "double", 9999999999999998.0, "9999999999999998.0"),
    (b.double(1e16), "double", "double", 1e16, "1e+16"),
    (b.double(0.0001), "double", "double", 0.0001, "0.0001"),
    (b.double(0.00001), "double", "double", 0.00001, "1e-05"),
    (b.double(5e-324), "double", "double", 5e-324, "5e-324"),
    (b.double(1.7976931348623157e308), "double", "double", 1.7976931348623157e308, "1.7976931348623157e+308"),
    (b.double(-760296827402178.25), "double", "double", -760296827402178.25, "-760296827402178.2"),
    (b.double(math.inf), "double", "double", math.inf, '{"$numberDouble":"Infinity"}'),
    (b.double(-math.inf), "double", "double", -math.inf, '{"$numberDouble":"-Infinity"}'),
    (b.text(""), "string", "string", "", '""'),
    (b.text("\0\x01\n\"\\\x7fü€𝄞"), "string", "string", "\0\x01\n\"\\\x7fü€𝄞", '"\\u0000\\u0001\\u000a\\"\\\\\x7fü€𝄞"'),
    (b.text(b"\x60\xff\x62"), "string_invalid", "json", BAD_UTF8, BAD_UTF8),
    # A surrogate encoded in three bytes, an overlong zero, a start without its rest.
    (b.text(b"\xed\xa0\x80"), "string_invalid", "json", '{"$text":{"base64":"7aCA"}}', '{"$text":{"base64":"7aCA"}}'),
    (b.text(b"\xc0\x80"), "string_invalid", "json", '{"$text":{"base64":"wIA="}}', '{"$text":{"base64":"wIA="}}'),
    (b.text(b"\xf0\x9f"), "string_invalid", "json", '{"$text":{"base64":"8J8="}}', '{"$text":{"base64":"8J8="}}'),
    (b.boolean(True), "bool", "bool", True, "true"),
    (b.boolean(False), "bool", "bool", False, "false"),
    (b.objectid(OID), "objectid", "objectid", OID, f'{{"$oid":"{OID}"}}'),
    (b.binary(4, UUID_BYTES), "uuid", "uuid", UUID_TEXT, f'{{"$uuid":"{UUID_TEXT}"}}'),
    (b.binary(0, b""), "binary", "binary", b"", '{"$binary":{"base64":"","subType":"00"}}'),
    (b.binary(0, b"\xff\xff"), "binary", "binary", b"\xff\xff", '{"$binary":{"base64":"//8=","subType":"00"}}'),
    *(
        (value, "binary_other", "json", text, text)
        for value, text in [
            (b.binary(1, b"\xff\xff"), '{"$binary":{"base64":"//8=","subType":"01"}}'),
            # The old binary: a second length inside, which is not part of the payload.
            (b.binary(2, struct.pack("<i", 2) + b"\xff\xff"), '{"$binary":{"base64":"//8=","subType":"02"}}'),
            (b.binary(3, UUID_BYTES), '{"$binary":{"base64":"AAECAwQFBgcICQoLDA0ODw==","subType":"03"}}'),
            (b.binary(4, b"\x00"), '{"$binary":{"base64":"AA==","subType":"04"}}'),
            (b.binary(5, b"abcdef"), '{"$binary":{"base64":"YWJjZGVm","subType":"05"}}'),
            (b.binary(6, b"\x01"), '{"$binary":{"base64":"AQ==","subType":"06"}}'),
            (b.binary(9, b"\x03\x00\x7f"), '{"$binary":{"base64":"AwB/","subType":"09"}}'),
            (b.binary(0x80, b"\xff\xff"), '{"$binary":{"base64":"//8=","subType":"80"}}'),
        ]
    ),
    *(
        (value, name, "json", text, text)
        for value, name, text in [
            (b.regex(b"", b""), "regex", '{"$regularExpression":{"pattern":"","options":""}}'),
            (b.regex(b"a/\"b", b"imx"), "regex", '{"$regularExpression":{"pattern":"a/\\"b","options":"imx"}}'),
            (b.regex(b"\x60\xff\x62", b""), "regex", f'{{"$regularExpression":{{"pattern":{BAD_UTF8},"options":""}}}}'),
            (b.dbpointer("b", OID), "dbpointer", f'{{"$dbPointer":{{"$ref":"b","$id":{{"$oid":"{OID}"}}}}}}'),
            (b.code("x = 1;\0"), "code", '{"$code":"x = 1;\\u0000"}'),
            (b.text(b"\x60\xff\x62", 0x0D), "code", f'{{"$code":{BAD_UTF8}}}'),
            (b.symbol(""), "symbol", '{"$symbol":""}'),
            (b.symbol("é"), "symbol", '{"$symbol":"é"}'),
            (b.code_with_scope("", b.document()), "code_with_scope", '{"$code":"","$scope":{}}'),
            (
                b.code_with_scope("abcd", b.document(("x", b.int32(1)), ("x", b.NULL))),
                "code_with_scope",
                '{"$code":"abcd","$scope":{"x":1,"x":null}}',
            ),
            (b.timestamp(123456789, 42), "timestamp", '{"$timestamp":{"t":123456789,"i":42}}'),
            (b.timestamp(2**32 - 1, 2**32 - 1), "timestamp", '{"$timestamp":{"t":4294967295,"i":4294967295}}'),
            (b.UNDEFINED, "undefined", '{"$undefined":true}'),
            (b.MINKEY, "minkey", '{"$minKey":1}'),
            (b.MAXKEY, "maxkey", '{"$maxKey":1}'),
        ]
    ),
]  # fmt: skip

DATES = [
    (0, "1970-01-01T00:00:00Z"),
    (1, "1970-01-01T00:00:00.001Z"),
    (1356351330500, "2012-12-24T12:15:30.500Z"),
    (1356351330000, "2012-12-24T12:15:30Z"),
    (951782400000, "2000-02-29T00:00:00Z"),
    (4107542400000, "2100-03-01T00:00:00Z"),
    (253402300799999, "9999-12-31T23:59:59.999Z"),
    (253402300800000, None),
    (-1, None),
    (-(2**63), None),
    (2**63 - 1, None),
]

# Sixteen bytes as they stand in a document; canonical text. After the specification's rules for text and its limits.
DECIMALS = [
    ("000000000000000000000000000040b0", "-0"),
    ("00000000000000000000000000004030", "0"),
    ("01000000000000000000000000004030", "1"),
    ("000000000000000000000000000000b0", "-0E-32"),
    ("00000000000000000000000000000080", "-0E-6176"),
    ("0000000000000000000000000000fe5f", "0E+6111"),
    ("0000000000000000000000000000007c", "NaN"),
    ("000000000000000000000000000000fc", "NaN"),
    ("0000000000000000000000000000007e", "NaN"),
    ("120000000000000000000000000000fe", "NaN"),
    ("00000000000000000000000000000078", "Infinity"),
    ("000000000000000000000000000000f8", "-Infinity"),
    ("d2040000000000000000000000003430", "0.001234"),
    ("40ef5a07000000000000000000002a30", "0.00123400000"),
    ("01000000000000000000000000003430", "0.000001"),
    ("01000000000000000000000000003230", "1E-7"),
    ("0a000000000000000000000000003230", "0.0000010"),
    ("78000000000000000000000000004230", "1.20E+3"),
    ("69000000000000000000000000004230", "1.05E+3"),
    ("01000000000000000000000000004230", "1E+1"),
    ("ffffffff638e8d37c087adbe09ed4130", "9999999999999999999999999999999999"),
    ("ffffffff638e8d37c087adbe09edff5f", "9.999999999999999999999999999999999E+6144"),
    ("ffffffff638e8d37c087adbe09edffdf", "-9.999999999999999999999999999999999E+6144"),
    ("01000000000000000000000000000000", "1E-6176"),
    ("f2af967ed05c82de3297ff6fde3c4030", "1234567890123456789012345678901234"),
    # More than 34 digits, and the large form: coefficients that cannot be, which count as zero.
    ("00000000648e8d37c087adbe09ed4130", "0"),
    ("dcba9876543210deadbeef00000010ec", "-0"),
]


def _decode(make: Make, *pairs: tuple[str, b.Value], **options: Any) -> tuple[pl.DataFrame, dict[str, Any]]:
    decoder = make(**options)
    (flush,), _ = drain(decoder, b.document(("_id", b.int32(1)), *pairs))
    assert flush.rejects.height == 0
    return flush.tables[""], decoder.stats()[""]["fields"]


@pytest.mark.parametrize(("value", "name", "kind", "held", "text"), SCALARS)
def test_scalars(make: Make, value: b.Value, name: str, kind: str, held: Any, text: str) -> None:
    frame, fields = _decode(make, ("v", value), ("list", b.array([value])), ("doc", b.sub(("k", value))), max_depth=1)
    assert frame[f"v|{kind}"].to_list() == [held]
    assert frame["list|json"].to_list() == [f"[{text}]"]
    assert frame["doc|json"].to_list() == [f'{{"k":{text}}}']
    assert fields["v"]["types"] == {name: 1}
    assert TYPE_KINDS[name] == kind
    empties = (b.text(""), b.binary(0, b""))
    assert fields["v"]["empty"] == (1 if value in empties else 0)


def test_column_types(make: Make) -> None:
    values = {
        "int": b.int32(1), "double": b.double(1.5), "decimal": b.decimal(DECIMALS[0][0]), "string": b.text("x"),
        "bool": b.boolean(True), "date": b.date(0), "objectid": b.objectid(OID), "uuid": b.binary(4, UUID_BYTES),
        "binary": b.binary(0, b"x"), "json": b.array([]),
    }  # fmt: skip
    frame, _ = _decode(make, *((f"k_{kind}", value) for kind, value in values.items()))
    assert dict(frame.schema) == {
        "_id": pl.String, "_hash": pl.Binary, "_rescued": pl.String,
        "k_int|int": pl.Int64, "k_double|double": pl.Float64, "k_decimal|decimal": pl.String,
        "k_string|string": pl.String, "k_bool|bool": pl.Boolean, "k_date|date": pl.Datetime("ms", "UTC"),
        "k_objectid|objectid": pl.String, "k_uuid|uuid": pl.String, "k_binary|binary": pl.Binary,
        "k_json|json": pl.String,
    }  # fmt: skip


@pytest.mark.parametrize("bits", ["000000000000f87f", "120000000000f87f", "000000000000f8ff", "0000000000000080"])
def test_doubles_keep_all_their_bits(make: Make, bits: str) -> None:
    frame, _ = _decode(make, ("v", (0x01, bytes.fromhex(bits))))
    assert struct.pack("<d", frame["v|double"][0]).hex() == bits


def test_special_doubles_in_json(make: Make) -> None:
    frame, _ = _decode(make, ("v", b.array([b.double(math.nan), b.double(-0.0)])))
    assert frame["v|json"].to_list() == ['[{"$numberDouble":"NaN"},{"$numberDouble":"-0.0"}]']


@pytest.mark.parametrize(("milliseconds", "text"), DATES)
def test_dates(make: Make, milliseconds: int, text: str | None) -> None:
    frame, _ = _decode(make, ("v", b.date(milliseconds)), ("list", b.array([b.date(milliseconds)])))
    assert frame["v|date"].to_physical().to_list() == [milliseconds]
    inner = f'"{text}"' if text else f'{{"$numberLong":"{milliseconds}"}}'
    assert frame["list|json"].to_list() == [f'[{{"$date":{inner}}}]']


@pytest.mark.parametrize(("bits", "text"), DECIMALS)
def test_decimals(make: Make, bits: str, text: str) -> None:
    assert text == str(bson.Decimal128.from_bid(bytes.fromhex(bits)))
    frame, fields = _decode(make, ("v", b.decimal(bits)), ("list", b.array([b.decimal(bits)])))
    assert frame["v|decimal"].to_list() == [text]
    assert frame["list|json"].to_list() == [f'[{{"$numberDecimal":"{text}"}}]']
    assert fields["v"]["types"] == {"decimal": 1}


def test_any_decimal_reads_as_pymongo_writes_it(make: Make) -> None:
    generator = random.Random(4)
    bits = [generator.randbytes(16) for _ in range(2000)]
    raw = b"".join(b.document(("_id", b.int32(index)), ("v", (0x13, each))) for index, each in enumerate(bits))
    (flush,), _ = drain(make(), raw)
    assert flush.tables[""]["v|decimal"].to_list() == [str(bson.Decimal128.from_bid(each)) for each in bits]


def test_null_missing_and_empty_are_three_facts(make: Make) -> None:
    decoder = make(children=["kids"])
    documents = [
        b.document(("_id", b.int32(1)), ("a", b.NULL), ("d", b.sub()), ("l", b.array([])), ("kids", b.array([]))),
        b.document(("_id", b.int32(2)), ("a", b.text("")), ("d", b.NULL), ("kids", b.NULL)),
        b.document(("_id", b.int32(3))),
    ]
    (flush,), _ = drain(decoder, b"".join(documents))
    frame, stats = flush.tables[""], decoder.stats()[""]
    assert frame.columns == ["_id", "_hash", "_rescued", "a|string", "d|json", "l|json"]
    assert frame["a|string"].to_list() == [None, "", None]
    assert frame["d|json"].to_list() == ["{}", None, None]
    assert stats == {
        "rows": 3,
        "overflow": 0,
        "deletes": 0,
        "fields": {
            "_id": {"present": 3, "types": {"int32": 3}, "empty": 0},
            "a": {"present": 2, "types": {"string": 1, "null": 1}, "empty": 1},
            "d": {"present": 2, "types": {"document": 1, "null": 1}, "empty": 1},
            "l": {"present": 1, "types": {"array": 1}, "empty": 1},
            "kids": {"present": 2, "types": {"array": 1, "null": 1}, "empty": 1},
        },
    }
    assert list(flush.tables) == [""]


KEYS = [
    (b.objectid(OID), OID),
    (b.int32(5), "5"),
    (b.int64(5), "5"),
    (b.double(5.0), "5"),
    (b.decimal("05000000000000000000000000004030"), "5"),
    (b.decimal("32000000000000000000000000003e30"), "5"),
    (b.decimal("05000000000000000000000000004230"), "50"),
    (b.double(-0.0), "0"),
    (b.decimal("0000000000000000000000000000fedf"), "0"),
    (b.int64(-(2**63)), "-9223372036854775808"),
    (b.double(-(2.0**63)), "-9223372036854775808"),
    (b.double(2.0**63), "9.223372036854776e+18"),
    (b.double(5.5), "5.5"),
    (b.double(math.nan), '{"$numberDouble":"NaN"}'),
    (b.decimal("37000000000000000000000000003e30"), '{"$numberDecimal":"5.5"}'),
    (b.decimal("01000000000000000000000000006630"), '{"$numberDecimal":"1E+19"}'),
    (b.decimal("01000000000000000000000000000000"), '{"$numberDecimal":"1E-6176"}'),
    (b.text("x-1"), "x-1"),
    (b.text(""), ""),
    (b.text("5"), '"5"'),
    (b.text("-12"), '"-12"'),
    (b.text("5.5"), '"5.5"'),
    (b.text("1e+16"), '"1e+16"'),
    (b.text("1e"), "1e"),
    (b.text("1."), "1."),
    (b.text("-"), "-"),
    # A digit of another script is none here.
    (b.text("\u0665"), "\u0665"),
    (b.text("5\n"), "5\n"),
    (b.text(OID), f'"{OID}"'),
    (b.text(OID.upper()), OID.upper()),
    (b.text("true"), '"true"'),
    (b.text("nulls"), "nulls"),
    (b.text("{}"), '"{}"'),
    (b.text("[x"), '"[x"'),
    (b.text('"x"'), '"\\"x\\""'),
    (b.text("a\0b"), '"a\\u0000b"'),
    (b.text(b"\x60\xff\x62"), BAD_UTF8),
    (b.boolean(True), "true"),
    (b.NULL, "null"),
    (b.date(0), '{"$date":"1970-01-01T00:00:00Z"}'),
    (b.binary(4, UUID_BYTES), f'{{"$uuid":"{UUID_TEXT}"}}'),
    (b.sub(("region", b.text("eu")), ("n", b.int32(1))), '{"region":"eu","n":1}'),
    (b.sub(), "{}"),
    (b.array([b.int32(1)]), "[1]"),
    (b.MINKEY, '{"$minKey":1}'),
]


@pytest.mark.parametrize(("value", "text"), KEYS)
def test_key_texts(make: Make, value: b.Value, text: str) -> None:
    decoder = make(with_op=True)
    raw = b.document(("a", b.int32(1)), ("_id", value))
    assert decoder.push(raw) == len(raw)
    decoder.push_delete(raw)
    frame = decoder.flush().tables[""]
    assert frame["_id"].to_list() == [text, text]
    assert frame["_op"].to_list() == ["u", "d"]
    assert frame["a|int"].to_list() == [1, None]
    assert frame.columns == ["_id", "_hash", "_op", "_rescued", "a|int"]


ORDER: dict[str, Any] = {
    "_id": bson.ObjectId(OID),
    "n": 7,
    "big": bson.Int64(2**40),
    "total": 19.99,
    "tax": bson.Decimal128("1.20E+3"),
    "name": "Zoë",
    "paid": True,
    "at": datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC),
    "raw": b"\x00\xff",
    "ship": {"city": "Köln", "geo": {"lat": 50.9, "lon": -6.75}},
    "lines": [{"sku": "a", "qty": 2, "at": datetime(2026, 1, 2, tzinfo=UTC)}, None, [1, 2.5, "x"]],
}


def test_values_against_pymongo(make: Make) -> None:
    """An ordinary document: columns equal what pymongo decodes, nested JSON what it reads back."""
    raw = bson.encode(ORDER)
    (flush,), _ = drain(make(), raw)
    row = flush.tables[""].row(0, named=True)
    decoded = bson.decode(raw, codec_options=bson.CodecOptions(tz_aware=True))
    flat = (
        decoded
        | {"ship.city": decoded["ship"]["city"]}
        | {f"ship.geo.{k}": v for k, v in decoded["ship"]["geo"].items()}
    )
    seen = {name.partition("|")[0]: value for name, value in row.items() if "|" in name and name != "lines|json"}
    assert seen == {path: flat[path] for path in seen} | {"tax": str(decoded["tax"])}
    assert set(seen) == {
        "n",
        "big",
        "total",
        "tax",
        "name",
        "paid",
        "at",
        "raw",
        "ship.city",
        "ship.geo.lat",
        "ship.geo.lon",
    }
    assert row["_id"] == OID
    options = json_util.JSONOptions(tz_aware=True, tzinfo=UTC)
    assert json_util.loads(row["lines|json"], json_options=options) == decoded["lines"]


_python_values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1).map(bson.Int64),
    st.integers(-(2**31), 2**31 - 1),
    st.floats(allow_nan=False),
    st.text(max_size=20),
    st.binary(max_size=20),
    st.datetimes(min_value=datetime(1, 1, 1), max_value=datetime(9999, 12, 31), timezones=st.just(UTC)),
    st.binary(min_size=12, max_size=12).map(bson.ObjectId),
    st.uuids().map(bson.Binary.from_uuid),
    st.decimals(allow_nan=False, allow_infinity=False, places=4, min_value=-(10**20), max_value=10**20).map(
        bson.Decimal128
    ),
)
_keys = st.text(min_size=1, max_size=6).map(lambda key: key.replace("\0", "0")).filter(lambda key: key != "_id")


def _as_held(value: Any) -> Any:
    match value:
        case bson.ObjectId() | bson.Decimal128():
            return str(value)
        case bson.Binary():
            return str(value.as_uuid())
    return value


@settings(max_examples=60, deadline=None)
@given(st.lists(st.dictionaries(_keys, _python_values, max_size=6), min_size=1, max_size=5))
@pytest.mark.parametrize("implementation", ["reference", pytest.param("native", marks=NEEDS_NATIVE)])
def test_what_pymongo_encodes_is_what_columns_hold(implementation: Any, documents: list[dict[str, Any]]) -> None:
    raws = [bson.encode(SON([("_id", index), *found.items()])) for index, found in enumerate(documents)]
    (flush,), _ = drain(make_decoder(implementation=implementation), b"".join(raws))
    rows = flush.tables[""].rows(named=True)
    for raw, row in zip(raws, rows, strict=True):
        decoded = bson.decode(raw, codec_options=bson.CodecOptions(tz_aware=True))
        expected = {escape_key(key): _as_held(value) for key, value in decoded.items() if value is not None}
        assert row["_id"] == str(expected.pop("_id"))
        held = {name.rpartition("|")[0]: value for name, value in row.items() if "|" in name and value is not None}
        assert held == expected
