"""What the COPY encoder refuses, and the bytes it writes; what Postgres makes of them is tested with a server."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

native = pytest.importorskip("warehouse_native")

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)


def _encode(values: list[Any], pg_type: str, dtype: Any = None) -> tuple[bytes, list[tuple[int, str]]]:
    data, misfits = native.encode_copy(pl.DataFrame({"v": pl.Series(values, dtype=dtype)}), [("v", pg_type)])
    assert data.startswith(HEADER)
    assert data.endswith(b"\xff\xff")
    return data[len(HEADER) : -2], misfits


def test_bytes() -> None:
    assert _encode([1, None], "bigint") == (bytes.fromhex("0001 00000008 0000000000000001 0001 ffffffff"), [])
    assert _encode(["é"], "text") == (bytes.fromhex("0001 00000002 c3a9"), [])
    assert _encode(["[]"], "jsonb") == (bytes.fromhex("0001 00000003 01 5b5d"), [])
    numeric = bytes.fromhex("0001 0000000c 0002 0000 4000 0001 0001 1388")
    assert _encode(["-1.5"], "numeric") == (numeric, [])


MISFITS: list[tuple[Any, str, Any]] = [
    ("a\0b", "text", pl.String),
    ('{"k\\u0000":1}', "jsonb", pl.String),
    ('["\\ud800"]', "jsonb", pl.String),
    ('["\\ud800\\u0041"]', "jsonb", pl.String),
    ("[" * 1100 + "]" * 1100, "jsonb", pl.String),
    ("nul", "jsonb", pl.String),
    ("1 2", "jsonb", pl.String),
    ('"\x01"', "jsonb", pl.String),
    ("1e-10001", "jsonb", pl.String),
    (-210_866_803_200_001, "timestamptz", pl.Datetime("ms", "UTC")),
    (9_224_318_016_000_000, "timestamptz", pl.Datetime("ms", "UTC")),
    (2**63 - 1, "timestamptz", pl.Datetime("ms", "UTC")),
    (-(2**63), "timestamptz", pl.Datetime("us", "UTC")),
    (1, "timestamptz", pl.Datetime("ns", "UTC")),
    (-2440589, "date", pl.Date),
    (2**31 - 1, "date", pl.Date),
    (2**53 + 1, "double precision", pl.Int64),
    (2**63 - 1, "double precision", pl.Int64),
    (0.5, "numeric", pl.Float64),
    ("1E-20000", "numeric", pl.String),
    ("1E+131072", "numeric", pl.String),
    ("1E+99999999999999999999", "numeric", pl.String),
    ("", "numeric", pl.String),
    ("1.", "numeric", pl.String),
    (".5", "numeric", pl.String),
    ("+1", "numeric", pl.String),
    ("1e", "numeric", pl.String),
    ("0x1", "numeric", pl.String),
    ("sNaN", "numeric", pl.String),
    (b"short", "uuid", pl.Binary),
    ("00010203-0405-0607-0809-0a0b0c0d0e0", "uuid", pl.String),
    ("00010203-0405-0607-0809-0a0b0c0d0e0f0", "uuid", pl.String),
    ("00010203x0405-0607-0809-0a0b0c0d0e0f", "uuid", pl.String),
]


@pytest.mark.parametrize(("value", "pg_type", "dtype"), MISFITS)
def test_misfits_are_null_and_named(value: Any, pg_type: str, dtype: Any) -> None:
    dtype = dtype() if isinstance(dtype, type) else dtype
    if isinstance(value, int) and dtype != pl.Int64:
        series = pl.Series("v", [None, value], dtype=pl.Int32 if dtype == pl.Date else pl.Int64).cast(dtype)
    else:
        series = pl.Series("v", [None, value], dtype=dtype)
    data, misfits = native.encode_copy(pl.DataFrame([series]), [("v", pg_type)], header=False, trailer=False)
    assert misfits == [(1, "v")]
    assert data == bytes.fromhex("0001 ffffffff 0001 ffffffff")


def test_rows_are_numbered_over_chunks() -> None:
    good, bad = pl.DataFrame({"v": ["a"], "w": ["b"]}), pl.DataFrame({"v": ["\0"], "w": ["\0"]})
    frame = pl.concat([good, bad, good, bad], rechunk=False)
    _, misfits = native.encode_copy(frame, [("w", "text"), ("v", "text")])
    assert misfits == [(1, "w"), (1, "v"), (3, "w"), (3, "v")]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ([("absent", "text")], "no column"),
        ([("v", "money")], "unknown type"),
        ([("v", "bigint")], "cannot be encoded as bigint"),
    ],
)
def test_wrong_calls(columns: list[tuple[str, str]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        native.encode_copy(pl.DataFrame({"v": ["x"]}), columns)


def test_a_released_stream_or_another_object_is_an_error() -> None:
    with pytest.raises(AttributeError):
        native.encode_copy([1], [("v", "text")])


_PIECES = st.sampled_from(["\0", "\\", "u0000", "u", "0", "ü", "long enough to lie beside"])
_TEXTS = st.lists(st.none() | st.lists(_PIECES, max_size=4).map("".join), max_size=12)


@given(_TEXTS, _TEXTS, st.integers(0, 3))
def test_columns_are_named_that_hold_a_nul(texts: list[str | None], jsons: list[str | None], first: int) -> None:
    rows = max(len(texts), len(jsons))
    padded = [values + [None] * (rows - len(values)) for values in (texts, jsons)]
    frame = pl.DataFrame(dict(zip(("t", "j"), padded, strict=True)), {"t": pl.String, "j": pl.String})[first:]
    expected = {"t"} if any("\0" in text for text in frame["t"].drop_nulls()) else set()
    expected |= {"j"} if any("\\u0000" in text for text in frame["j"].drop_nulls()) else set()
    assert set(native.columns_with_nul(frame, ["t"], ["j"])) == expected


def test_only_columns_of_texts_can_be_searched() -> None:
    with pytest.raises(ValueError, match='column "n" is not of texts'):
        native.columns_with_nul(pl.DataFrame({"n": [1]}), ["n"], [])
    with pytest.raises(ValueError, match='no column "x"'):
        native.columns_with_nul(pl.DataFrame({"n": [1]}), [], ["x"])
