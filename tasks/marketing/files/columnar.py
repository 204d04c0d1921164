"""Parquet files into landed frames: every column by its own type, nested ones flattened, nothing through floats."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import xxhash

from tasks.landing.decoder.bson_walk import escape_key
from tasks.marketing.files.records import FileProblem

_ROWS_PER_SLICE = 100_000
# Milliseconds that microseconds in 64 bits can tell.
_MOST_MS = (1 << 63) // 1_000 - 1


def parquet_frames(path: Path, key: Sequence[str]) -> Iterator[pl.DataFrame]:
    """Yield slices of a Parquet file with columns named by path and no key yet.

    Raises:
        FileProblem: Not a Parquet file, or a key column is not there.
    """
    try:
        scan = pl.scan_parquet(path, glob=False)
        names = scan.collect_schema().names()
        rows = int(scan.select(pl.len()).collect().item())
    except (pl.exceptions.PolarsError, OSError, ValueError) as error:
        raise FileProblem(f"not a readable Parquet file: {error}") from None
    missing = [name for name in key if name not in names]
    if missing:
        raise FileProblem(f"the key column {', '.join(missing)} is not in the file")
    if "_id" in names and tuple(key) != ("_id",):
        raise FileProblem("a column is called _id, which only the key can be: make it the key")
    for start in range(0, rows, _ROWS_PER_SLICE):
        try:
            yield scan.slice(start, _ROWS_PER_SLICE).collect()
        except pl.exceptions.PolarsError as error:
            raise FileProblem(f"not a readable Parquet file: {error}") from None


def landed(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the columns as `path|kind`; an all-null column is left out, for it has no value."""
    columns: list[pl.Series] = []
    for series in frame.get_columns():
        columns += _landed(escape_key(series.name), series)
    kept = [series for series in columns if series.null_count() < len(series)]
    return pl.DataFrame(kept) if kept else pl.DataFrame(height=frame.height)


def _landed(path: str, series: pl.Series) -> Iterator[pl.Series]:
    dtype = series.dtype
    if isinstance(dtype, pl.Struct):
        for field in dtype.fields:
            yield from _landed(f"{path}.{escape_key(field.name)}", series.struct.field(field.name))
        return
    kind, values = _kind(series)
    yield values.alias(f"{path}|{kind}")


def _kind(series: pl.Series) -> tuple[str, pl.Series]:
    dtype = series.dtype
    if dtype.is_integer():
        narrow = series.cast(pl.Int64, strict=False)
        fits = narrow.null_count() == series.null_count()
        return ("int", narrow) if fits else ("decimal", series.cast(pl.String))
    if dtype.is_float():
        return "double", series.cast(pl.Float64)
    if isinstance(dtype, pl.Decimal):
        return "decimal", series.cast(pl.String)
    if dtype == pl.Boolean:
        return "bool", series
    if dtype == pl.Date:
        return "day", series
    if isinstance(dtype, pl.Datetime):
        return _moments(series)
    if dtype == pl.Binary:
        return "binary", series
    if isinstance(dtype, pl.List | pl.Array):
        return "json", pl.Series(series.name, [_json(value) for value in python_values(series)], dtype=pl.String)
    return "string", series.cast(pl.String)


def _moments(series: pl.Series) -> tuple[str, pl.Series]:
    zoned = series.dt.replace_time_zone("UTC") if series.dtype.time_zone is None else series.dt.convert_time_zone("UTC")  # type: ignore[attr-defined]
    if series.dtype.time_unit == "ms" and not zoned.to_physical().is_between(-_MOST_MS, _MOST_MS).all():  # type: ignore[attr-defined]
        # Too far for microseconds in 64 bits.
        return "date", zoned
    if series.dtype.time_unit == "ns" and (zoned.dt.nanosecond() % 1_000 != 0).any():  # type: ignore[attr-defined]
        # No type of the warehouse holds nanoseconds; the text keeps them.
        return "string", zoned.dt.to_string("iso:strict")
    return "micros", zoned.dt.cast_time_unit("us")


# What Polars does with a time that Python, or its own calendar, cannot tell.
_BEYOND = (OverflowError, ValueError, pl.exceptions.PanicException)


def python_values(series: pl.Series) -> list[Any]:
    """Return values as Python objects; a time outside of Python's years 1 to 9999 is its number."""
    try:
        return series.to_list()
    except _BEYOND:
        return [_python_value(series.slice(row, 1)) for row in range(len(series))]


def _python_value(one: pl.Series) -> Any:
    try:
        return one.to_list()[0]
    except _BEYOND:
        return one.to_physical().to_list()[0]


def _json(value: object) -> str | None:
    if value is None:
        return None
    return json.dumps(_plain(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _plain(value: Any) -> Any:
    """Return a nested value as what JSON can say, in extended JSON where it has no word for it."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | pl.Series):
        return [_plain(inner) for inner in value]
    if isinstance(value, Decimal):
        return {"$numberDecimal": str(value)}
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return {"$numberDouble": {"inf": "Infinity", "-inf": "-Infinity"}.get(str(value), "NaN")}
    if isinstance(value, datetime | date | time | timedelta):
        return value.isoformat() if not isinstance(value, timedelta) else str(value)
    if isinstance(value, bytes):
        return {"$binary": {"base64": base64.b64encode(value).decode(), "subType": "00"}}
    return value


def hashes(frame: pl.DataFrame, seed: int) -> pl.Series:
    """Return a hash per row over names and values of the landed columns."""
    names = repr(frame.columns).encode()
    columns = (python_values(series) for series in frame.get_columns())
    rows = (xxhash.xxh3_128_digest(names + repr(row).encode(), seed=seed) for row in zip(*columns, strict=True))
    return pl.Series("_hash", list(rows) if frame.width else [b""] * frame.height, dtype=pl.Binary)
