"""Frames into COPY: the native binary encoder where it is installed, CSV by Polars elsewhere."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from typing import Any, Literal

import polars as pl
import psycopg
from psycopg import sql

from tasks.bronze import native
from tasks.overlap import read_ahead

Rescue = Callable[[pl.DataFrame, Sequence[tuple[int, str]]], pl.DataFrame]


def _none_expected(frame: pl.DataFrame, cells: Sequence[tuple[int, str]]) -> pl.DataFrame:
    raise psycopg.DataError(f"Postgres cannot hold values of {sorted({name for _, name in cells})}")


# What one COPY message carries at most: bounds memory, and large enough that messages cost nothing.
_SLICE_BYTES = 4 << 20
_LEAST_ROWS = 256
_DATE_MICROSECONDS = (-62_135_596_800_000_000, 253_402_300_799_999_999)
_DAYS = (-719_162, 2_932_896)


def copy_frames(
    cursor: psycopg.Cursor[Any],
    relation: sql.Composable,
    frames: Iterable[pl.DataFrame],
    types: Sequence[tuple[str, str]],
    *,
    freeze: bool = False,
    rescue: Rescue = _none_expected,
) -> None:
    """Copy frames into a relation by one COPY; the next slices are made and encoded while the server takes one.

    Args:
        cursor: Inside a transaction.
        relation: The quoted relation.
        frames: Their columns in any order.
        types: `(column, Postgres type)` in the order of the COPY.
        rescue: Takes cells that Postgres cannot hold out of a frame.
        freeze: Write the rows as old ones: no later pass over them. For a relation made in the same subtransaction.
    """
    filled = (frame.select(name for name, _ in types) for frame in frames if frame.height)
    first = next(filled, None)
    if first is None:
        return
    chosen = itertools.chain([first], filled)
    columns = sql.SQL(", ").join(sql.Identifier(name) for name, _ in types)
    statement = sql.SQL("copy {} ({}) from stdin (format {}, freeze {})").format(
        relation, columns, sql.SQL("binary" if native.is_installed() else "csv"), sql.SQL("true" if freeze else "false")
    )
    payloads = _binary_slices(chosen, types, rescue) if native.is_installed() else csv_slices(chosen, types)
    with closing(read_ahead(payloads)) as slices, cursor.copy(statement) as copy:
        for payload in slices:
            # Of a view psycopg sends pieces without copying them.
            copy.write(memoryview(payload))


def _binary_slices(frames: Iterable[pl.DataFrame], types: Sequence[tuple[str, str]], rescue: Rescue) -> Iterator[bytes]:
    """Yield frames as binary COPY data in slices of bounded size."""
    encode = native.MODULE.encode_copy
    pairs, header, part = list(types), True, pl.DataFrame()
    for part in _slices(frames):
        payload, refused = encode(part, pairs, header=header, trailer=False)
        if refused:
            payload, refused = encode(rescue(part, refused), pairs, header=header, trailer=False)
        if refused:
            raise psycopg.DataError(f"Postgres cannot hold values of {sorted({name for _, name in refused})}")
        yield payload
        header = False
    yield encode(part.clear(), pairs, header=header, trailer=True)[0]


def csv_slices(frames: Iterable[pl.DataFrame], types: Sequence[tuple[str, str]]) -> Iterator[bytes]:
    """Yield frames as CSV in slices of bounded size."""
    for part in _slices(
        frame.select(_csv_column(frame[name], name, pg_type) for name, pg_type in types) for frame in frames
    ):
        buffer = io.BytesIO()
        # All texts quoted where a text stands first: a line that begins with `\\.` would end the COPY.
        style: Literal["always", "necessary"] = "always" if types[0][1] == "text" else "necessary"
        part.write_csv(
            buffer,
            include_header=False,
            quote_style=style,
            datetime_format="%Y-%m-%d %H:%M:%S%.6f+00",
            date_format="%Y-%m-%d",
        )
        yield buffer.getvalue()


def _slices(frames: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    for frame in frames:
        rows = max(_LEAST_ROWS, int(frame.height * _SLICE_BYTES / max(frame.estimated_size(), 1)))
        yield from frame.iter_slices(rows)


def _csv_column(column: pl.Series, name: str, pg_type: str) -> pl.Series:
    if pg_type == "bytea":
        return ("\\x" + column.bin.encode("hex")).alias(name)
    if pg_type == "uuid" and column.dtype == pl.Binary:
        return column.bin.encode("hex").alias(name)
    if pg_type == "timestamp with time zone":
        column = column.cast(pl.Datetime("us", "UTC"))
        return _far_dates(column, pl.Int64, _DATE_MICROSECONDS, _time_text, name)
    if pg_type == "date":
        return _far_dates(column, pl.Int32, _DAYS, _day_text, name)
    return column.alias(name)


def _far_dates(column: pl.Series, number: Any, limits: tuple[int, int], write: Any, name: str) -> pl.Series:
    """Return the column itself, or as text where a year is not of four digits."""
    numbers = column.cast(number)
    far = (~numbers.is_between(*limits)).fill_null(False)
    if not far.any():
        return column.alias(name)
    return pl.Series(name, [None if value is None else write(value) for value in numbers.to_list()], dtype=pl.String)


def _time_text(microseconds: int) -> str:
    days, rest = divmod(microseconds, 86_400_000_000)
    seconds, micros = divmod(rest, 1_000_000)
    day, era = _civil(days)
    return f"{day} {seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{micros:06d}+00{era}"


def _day_text(days: int) -> str:
    day, era = _civil(days)
    return day + era


def _civil(days: int) -> tuple[str, str]:
    """Return the proleptic Gregorian date of a day since 1970 as Postgres reads it, and its era."""
    era, day_of_era = divmod(days + 719_468, 146_097)
    year_of_era = (day_of_era - day_of_era // 1_460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    month_index = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * month_index + 2) // 5 + 1
    month = month_index + 3 if month_index < 10 else month_index - 9
    year = year_of_era + era * 400 + (month <= 2)
    return (f"{year:04d}-{month:02d}-{day:02d}", "") if year > 0 else (f"{1 - year:04d}-{month:02d}-{day:02d}", " BC")
