"""Binary COPY data from the native module, read back from a real Postgres by psycopg."""

from __future__ import annotations

import json
import math
import random
import struct
import uuid
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import polars as pl
import psycopg
import pytest
from psycopg import sql

native = pytest.importorskip("warehouse_native")

Copy = Callable[..., list[Any]]


@pytest.fixture
def copied(module_postgres_url: str) -> Any:
    """Copy one column and return what Postgres holds, as text or otherwise selected."""
    with psycopg.connect(module_postgres_url, autocommit=True) as connection:

        def run(series: pl.Series, pg_type: str, select: str = "v::text") -> list[Any]:
            rows = copy_frame(connection, pl.DataFrame({"v": series}), [("v", pg_type)], select)
            return [row[0] for row in rows]

        yield run


def copy_frame(
    connection: psycopg.Connection[Any], frame: pl.DataFrame, types: Sequence[tuple[str, str]], select: str
) -> list[tuple[Any, ...]]:
    connection.execute("drop table if exists t")
    columns = sql.SQL(", ").join(sql.SQL("{} {}").format(sql.Identifier(n), sql.SQL(t)) for n, t in types)
    connection.execute(sql.SQL("create table t (n bigint generated always as identity, {})").format(columns))
    names = sql.SQL(", ").join(sql.Identifier(name) for name, _ in types)
    data, misfits = native.encode_copy(frame, list(types))
    assert misfits == []
    with connection.cursor().copy(sql.SQL("copy t ({}) from stdin (format binary)").format(names)) as copy:
        copy.write(data)
    return connection.execute(sql.SQL("select {} from t order by n").format(sql.SQL(select))).fetchall()


def test_simple_types(copied: Copy) -> None:
    numbers = [0, -1, 2**63 - 1, -(2**63), None]
    assert copied(pl.Series("v", numbers, dtype=pl.Int64), "bigint", "v") == numbers
    assert copied(pl.Series("v", [True, False, None]), "boolean", "v") == [True, False, None]
    texts = ["", "ü€𝄞", 'quo"te\\.\n\t', "x" * 100_000, None]
    assert copied(pl.Series("v", texts), "text", "v") == texts
    binaries = [b"", b"\x00\xff" * 9, None]
    assert copied(pl.Series("v", binaries), "bytea", "v") == binaries


def test_doubles_bit_by_bit(copied: Copy) -> None:
    values = [0.0, -0.0, 5e-324, 1.7976931348623157e308, math.inf, -math.inf, 0.1, None]
    bits = [None if value is None else struct.pack(">d", value) for value in values]
    assert copied(pl.Series("v", values), "double precision", "float8send(v)") == bits
    assert copied(pl.Series("v", [math.nan]), "double precision") == ["NaN"]
    assert copied(pl.Series("v", [2**53, -(2**60)]), "double precision", "v") == [2.0**53, -(2.0**60)]


NUMERICS = [
    ("0", "0"), ("-0", "0"), ("0.00", "0.00"), ("0E-6144", "0." + "0" * 6144), ("1", "1"), ("-1", "-1"),
    ("1.20", "1.20"), ("1.20E+3", "1200"), ("1E+4", "10000"), ("12345.6789", "12345.6789"), ("0.0001", "0.0001"),
    ("0.00001", "0.00001"), ("1E-7", "0.0000001"), ("10000", "10000"), ("99999999", "99999999"),
    ("100000000", "100000000"), ("-0.00123", "-0.00123"), ("9.999999999999999999999999999999999E+6144", None),
    ("1E-6176", None), ("1234567890123456789012345678901234", None), ("NaN", "NaN"), ("Infinity", "Infinity"),
    ("-Infinity", "-Infinity"),
]  # fmt: skip


def test_numerics_from_decimal_text(copied: Copy) -> None:
    held = copied(pl.Series("v", [text for text, _ in NUMERICS]), "numeric")
    for (text, expected), found in zip(NUMERICS, held, strict=True):
        assert found == (format(Decimal(text), "f") if expected is None else expected), text


def test_random_numerics_are_what_postgres_reads_from_text(copied: Copy, module_postgres_url: str) -> None:
    generator = random.Random(2)
    texts = []
    for _ in range(2000):
        digits = str(generator.randrange(10 ** generator.randrange(1, 35)))
        point = generator.randrange(len(digits) + 1)
        mantissa = f"{digits[:point] or '0'}.{digits[point:]}" if digits[point:] else digits
        texts.append(
            generator.choice(("", "-")) + mantissa + generator.choice(("", f"E{generator.randrange(-40, 40):+d}"))
        )
    with psycopg.connect(module_postgres_url) as connection:
        expected = [row[0] for row in connection.execute("select unnest(%s::text[])::numeric::text", (texts,))]
    assert copied(pl.Series("v", texts), "numeric") == expected


def test_numerics_from_numbers(copied: Copy) -> None:
    whole = [0, 7, -12345, 2**63 - 1, -(2**63), 10_000, None]
    assert copied(pl.Series("v", whole, dtype=pl.Int64), "numeric", "v") == whole
    doubles = [0.0, 1e15, -4.0, 2.0**70, 1.7976931348623157e308]
    assert copied(pl.Series("v", doubles), "numeric", "v") == [Decimal(value) for value in doubles]
    assert copied(pl.Series("v", [math.nan, math.inf, -math.inf]), "numeric") == ["NaN", "Infinity", "-Infinity"]


def test_times(copied: Copy) -> None:
    moments = [0, 1767225600123, -1, -210_866_803_200_000, 9_223_372_036_854_775, None]
    series = pl.Series("v", moments, dtype=pl.Int64).cast(pl.Datetime("ms", "UTC"))
    assert copied(series, "timestamp with time zone", "(extract(epoch from v) * 1000)::bigint") == moments
    assert copied(series.head(2), "timestamptz", "v at time zone 'UTC'")[1].isoformat() == "2026-01-01T00:00:00.123000"
    micros = pl.Series("v", [1767225600000001, -9], dtype=pl.Int64).cast(pl.Datetime("us", "UTC"))
    assert copied(micros, "timestamptz", "(extract(epoch from v) * 1000000)::bigint") == [1767225600000001, -9]
    days = pl.Series("v", [0, 20454, -2440588, 2145042905], dtype=pl.Int32).cast(pl.Date)
    assert copied(days, "date", "v - date '1970-01-01'") == [0, 20454, -2440588, 2145042905]
    assert copied(days.head(2), "timestamptz", "extract(epoch from v)::bigint") == [0, 20454 * 86400]


def test_uuids(copied: Copy) -> None:
    values = [uuid.UUID(int=0), uuid.uuid5(uuid.NAMESPACE_DNS, "x")]
    assert copied(pl.Series("v", [str(value) for value in values]), "uuid", "v") == values
    assert copied(pl.Series("v", [value.bytes for value in values]), "uuid", "v") == values


def test_jsonb(copied: Copy) -> None:
    texts = ['{"a":[1,2.5,-1e-05,null,true,"\\u00e9\\ud834\\udd1e\\\\u0000"]}', '""', "0", " [ ] ",
             '"' + "x" * 5000 + '"', "[" * 900 + "]" * 900, "1e10000", '{"$date":{"$numberLong":"-1"}}']  # fmt: skip
    held = copied(pl.Series("v", texts), "jsonb")
    assert [json.loads(text) for text in held[:5]] == [json.loads(text) for text in texts[:5]]
    assert held[5] == texts[5]
    assert held[6] == "1" + "0" * 10000


def test_several_columns_and_slices(module_postgres_url: str) -> None:
    frame = pl.DataFrame({"b": ["x", None, "z"], "ignored": [1, 2, 3], "a": [1, None, 3]})
    types = [("a", "bigint"), ("b", "text")]
    parts = [native.encode_copy(frame.slice(i, 1), types, header=i == 0, trailer=i == 2)[0] for i in range(3)]
    assert b"".join(parts) == native.encode_copy(frame, types)[0]
    chunked = pl.concat([frame.slice(0, 2), frame.slice(2)], rechunk=False)
    assert native.encode_copy(chunked, types)[0] == native.encode_copy(frame, types)[0]
    with psycopg.connect(module_postgres_url, autocommit=True) as connection:
        assert copy_frame(connection, frame, types, "a, b") == [(1, "x"), (None, None), (3, "z")]
        assert copy_frame(connection, frame.clear(), types, "a, b") == []


def test_what_postgres_refuses_is_told_before(module_postgres_url: str) -> None:
    """Each of these fails a COPY or changes on the way; the server itself is asked that this is so."""
    cases: list[tuple[str, str, Any]] = [
        ("text", "select %s::text", "a\0b"),
        ("jsonb", "select %s::text::jsonb", '"\\u0000"'),
        ("jsonb", "select %s::text::jsonb", '"\\ud800"'),
        ("jsonb", "select %s::text::jsonb", '"\\udc00x"'),
        ("jsonb", "select %s::text::jsonb", "{'a':1}"),
        ("jsonb", "select %s::text::jsonb", "[1,]"),
        ("jsonb", "select %s::text::jsonb", "01"),
        ("jsonb", "select %s::text::jsonb", ""),
        ("jsonb", "select %s::text::jsonb", "1e999999"),
        ("numeric", "select %s::text::numeric", "1E+200000"),
        ("numeric", "select %s::text::numeric", "12,5"),
        ("uuid", "select %s::text::uuid", "not-a-uuid"),
    ]
    with psycopg.connect(module_postgres_url, autocommit=True) as connection:
        for pg_type, query, value in cases:
            with pytest.raises((psycopg.Error, ValueError)):
                connection.execute(query, (value,))
            data, misfits = native.encode_copy(pl.DataFrame({"v": ["0", value]}), [("v", pg_type)])
            assert misfits[-1] == (1, "v"), value
            assert data.endswith(b"\x00\x01\xff\xff\xff\xff\xff\xff")
