"""Landed kinds: all that a value can be on its way from a source to a destination, each told here and nowhere else.

For each kind its type in landed frames, its name in the statistics, the exact reading of it from text, its extended
JSON, and the column that holds it in each destination.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from types import MappingProxyType
from typing import Any, TypeAlias

import orjson
import polars as pl

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# 9999-12-31T23:59:59.999Z: extended JSON writes later dates, and those before 1970, as numbers.
_LAST_READABLE_MS = 253_402_300_799_999
_INT = r"^(0|-?[1-9][0-9]*)$"
_NUMBER = r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$"
_PLAIN_NUMBER = r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?$"
_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
# So many characters of a plain number hold at most 15 digits, which a double always gives back.
_SURELY_EXACT_CHARACTERS = 15
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_MOMENT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ]([01][0-9]|2[0-3]):[0-9]{2}(:[0-9]{2}(\.(?P<fraction>[0-9]{1,9}))?)?(Z|\+00:00)?"
)
_UUID = r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
_OBJECTID = r"^[0-9a-f]{24}$"

Parser = Callable[[pl.Series], pl.Series]
"""Reads texts: null where a text is null, or is not exactly a value of the kind."""


@dataclass(frozen=True)
class ColumnType:
    """The type of a column in a destination.

    Attributes:
        name: As the destination writes it.
        dtype: Type that a frame's column has when it is handed over.
        width: Bytes of each value; None where it varies.
    """

    name: str
    dtype: pl.DataType
    width: int | None = None


@dataclass(frozen=True)
class LandedKind:
    """One kind of landed value.

    Attributes:
        dtype: Type of its column in landed frames, for Polars, and so for Arrow.
        statistics: Name under which the statistics count its values.
        parse: Exact reading of texts: what is read tells the value and nothing of the text is lost but trailing zeros
            of a fraction and the spelling of UTC. A time without a zone is UTC.
        write: Returns a value as extended JSON; dates as int milliseconds, `micros` as int microseconds since 1970.
        columns: By destination, the type of its column.
    """

    dtype: pl.DataType
    statistics: str
    parse: Parser
    write: Callable[[Any], str]
    columns: Mapping[str, ColumnType]


def dtype_of(column: str) -> pl.DataType:
    """Return the type of a landed column, by its name `path|kind`."""
    return KINDS[column.rpartition("|")[2]].dtype


def plain(values: pl.Series, kind: str) -> pl.Series:
    """Return values as Python can hold them: dates as numbers, since Python's own end at year 9999."""
    if kind in ("date", "micros"):
        return values.cast(pl.Int64)
    return values.cast(pl.Int32) if kind == "day" else values


def fragment(kind: str, value: Any) -> str:
    """Return the extended JSON text of a landed value, as `plain` gives it."""
    return KINDS[kind].write(value)


def quote(text: str) -> str:
    """Return a JSON string."""
    return orjson.dumps(text).decode()


ChildRows: TypeAlias = Mapping[str, Mapping[tuple[Any, ...], pl.DataFrame]]
"""By path of their array and key of their document (`partition_by("_root_id", as_dict=True)`) landed child rows."""


def document_of(row: pl.DataFrame, children: ChildRows = MappingProxyType({})) -> str:
    """Return a frame of one landed row as extended JSON by path, meta columns with their own names.

    Args:
        row: The row.
        children: Its child rows come along, each array by its path; those of other documents do not.
    """
    parts: list[str] = []
    for column in row.get_columns():
        path, separator, kind = column.name.rpartition("|")
        # Not by `column[0]`: Python has no date as far as some are.
        if column.null_count():
            continue
        if separator:
            parts.append(f"{quote(path)}:{fragment(kind, plain(column, kind)[0])}")
        elif column.dtype == pl.String:
            parts.append(f"{quote(column.name)}:{quote(column[0])}")
    for child, by_root in children.items():
        if (found := by_root.get((row["_id"][0],))) is not None:
            parts.append(f"{quote(child)}:[{','.join(document_of(found[index]) for index in range(found.height))}]")
    return "{" + ",".join(parts) + "}"


def in_base64(key: str, text: str) -> str:
    """Return a text that JSON cannot tell as it is, kept to the letter under `key`."""
    return f'{{"{key}":{{"base64":"{base64.b64encode(text.encode()).decode()}"}}}}'


# -- from text ----------------------------------------------------------------------------------------------------


def _nulls(values: pl.Series) -> pl.Series:
    return pl.Series(values.name, [None], dtype=values.dtype).new_from_index(0, len(values))


def _matching(values: pl.Series, pattern: str) -> pl.Series:
    return values.zip_with(values.str.contains(pattern).fill_null(False), _nulls(values))


def _each(read: Callable[[str], Any], dtype: pl.DataType) -> Parser:
    """Return a parser that reads each distinct text once."""

    def parse(values: pl.Series) -> pl.Series:
        known = {text: read(text) for text in values.unique() if text is not None}
        return pl.Series(values.name, [None if text is None else known[text] for text in values], dtype=dtype)

    return parse


def _ints(values: pl.Series) -> pl.Series:
    return _matching(values, _INT).cast(pl.Int64, strict=False)


def _doubles(values: pl.Series) -> pl.Series:
    numbers = _matching(values, _NUMBER)
    read = numbers.cast(pl.Float64, strict=False)
    short = (numbers.str.len_bytes() <= _SURELY_EXACT_CHARACTERS) & numbers.str.contains(_PLAIN_NUMBER)
    doubtful = (~short.fill_null(True)).arg_true()
    lost = [row for row in doubtful if not _told_by(numbers[row], read[row])]
    named = values.replace_strict(_NOT_FINITE, default=None, return_dtype=pl.Float64)
    return (read.scatter(lost, None) if lost else read).zip_with(named.is_null(), named)


def _told_by(text: str, value: float | None) -> bool:
    return value is not None and math.isfinite(value) and Decimal(repr(value)) == Decimal(text)


def _decimals(values: pl.Series) -> pl.Series:
    numbers = _matching(values, _NUMBER)
    written = (~numbers.str.contains(_PLAIN_NUMBER).fill_null(True)).arg_true()
    if not len(written):
        return numbers
    return numbers.scatter(written, [str(Decimal(numbers[row])) for row in written])


def _bools(values: pl.Series) -> pl.Series:
    return values.replace_strict({"true": True, "false": False}, default=None, return_dtype=pl.Boolean)


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text) if _DAY.fullmatch(text) else None
    except ValueError:
        return None


def _moment(digits: int) -> Callable[[str], datetime | None]:
    """Return what reads a time with so many digits of a second."""

    def read(text: str) -> datetime | None:
        match = _MOMENT.fullmatch(text)
        if match is None or (match["fraction"] or "")[digits:].strip("0"):
            return None
        try:
            return datetime.fromisoformat(text).replace(tzinfo=UTC)
        except ValueError:
            return None

    return read


def _binary(text: str) -> bytes | None:
    try:
        value = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return value if base64.b64encode(value).decode() == text else None


def _json(text: str) -> str | None:
    try:
        json.loads(text, parse_constant=_no_json)
    except (ValueError, RecursionError):
        return None
    return text


def _no_json(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


# -- as extended JSON ---------------------------------------------------------------------------------------------


def _write_string(value: str) -> str:
    return in_base64("$text", value) if "\x00" in value else quote(value)


def _write_double(value: float) -> str:
    if math.isnan(value):
        return '{"$numberDouble":"NaN"}'
    if math.isinf(value):
        return f'{{"$numberDouble":"{"-" if value < 0 else ""}Infinity"}}'
    if value == 0 and math.copysign(1, value) < 0:
        return '{"$numberDouble":"-0.0"}'
    return repr(value)


def _write_date(milliseconds: int) -> str:
    if not 0 <= milliseconds <= _LAST_READABLE_MS:
        return f'{{"$date":{{"$numberLong":"{milliseconds}"}}}}'
    moment = _EPOCH + timedelta(milliseconds=milliseconds)
    tail = f".{milliseconds % 1000:03d}Z" if milliseconds % 1000 else "Z"
    return f'{{"$date":"{moment:%Y-%m-%dT%H:%M:%S}{tail}"}}'


def _write_day(value: date | int) -> str:
    return f'{{"$day":"{value.isoformat()}"}}' if isinstance(value, date) else f'{{"$day":{value}}}'


def _write_binary(value: bytes) -> str:
    return f'{{"$binary":{{"base64":"{base64.b64encode(value).decode()}","subType":"00"}}}}'


# -- the table ----------------------------------------------------------------------------------------------------

_MOMENTS = pl.Datetime("us", "UTC")
_TIMESTAMPTZ = ColumnType("timestamp with time zone", _MOMENTS, 8)
_TEXT = ColumnType("text", pl.String())

KINDS: dict[str, LandedKind] = {
    "int": LandedKind(pl.Int64(), "int64", _ints, str, {"postgres": ColumnType("bigint", pl.Int64(), 8)}),
    "double": LandedKind(
        pl.Float64(), "double", _doubles, _write_double, {"postgres": ColumnType("double precision", pl.Float64(), 8)}
    ),
    "decimal": LandedKind(
        pl.String(),
        "decimal",
        _decimals,
        lambda value: f'{{"$numberDecimal":"{value}"}}',
        {"postgres": ColumnType("numeric", pl.String())},
    ),
    "string": LandedKind(pl.String(), "string", lambda values: values, _write_string, {"postgres": _TEXT}),
    "bool": LandedKind(
        pl.Boolean(),
        "bool",
        _bools,
        lambda value: "true" if value else "false",
        {"postgres": ColumnType("boolean", pl.Boolean(), 8)},
    ),
    "date": LandedKind(
        pl.Datetime("ms", "UTC"),
        "date",
        _each(_moment(3), pl.Datetime("ms", "UTC")),
        _write_date,
        {"postgres": _TIMESTAMPTZ},
    ),
    "objectid": LandedKind(
        pl.String(),
        "objectid",
        lambda values: _matching(values, _OBJECTID),
        lambda value: f'{{"$oid":{quote(value)}}}',
        {"postgres": _TEXT},
    ),
    "uuid": LandedKind(
        pl.String(),
        "uuid",
        lambda values: _matching(values, _UUID),
        lambda value: f'{{"$uuid":"{value}"}}',
        {"postgres": ColumnType("uuid", pl.String(), 16)},
    ),
    "binary": LandedKind(
        pl.Binary(),
        "binary",
        _each(_binary, pl.Binary()),
        _write_binary,
        {"postgres": ColumnType("bytea", pl.Binary())},
    ),
    "json": LandedKind(
        pl.String(), "json", _each(_json, pl.String()), str, {"postgres": ColumnType("jsonb", pl.String())}
    ),
    "day": LandedKind(
        pl.Date(), "day", _each(_day, pl.Date()), _write_day, {"postgres": ColumnType("date", pl.Date(), 8)}
    ),
    "micros": LandedKind(
        _MOMENTS,
        "micros",
        _each(_moment(6), _MOMENTS),
        lambda value: f'{{"$micros":{value}}}',
        {"postgres": _TIMESTAMPTZ},
    ),
}
"""By name, in the order that decides between kinds that were seen equally often."""
