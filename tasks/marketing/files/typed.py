"""Text columns into the types that sources.yaml gives them: a value that cannot be read exactly stays text."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import polars as pl

DTYPES: dict[str, pl.DataType] = {
    "int": pl.Int64(),
    "double": pl.Float64(),
    "decimal": pl.String(),
    "string": pl.String(),
    "bool": pl.Boolean(),
    "date": pl.Datetime("ms", "UTC"),
    "day": pl.Date(),
    "micros": pl.Datetime("us", "UTC"),
    "objectid": pl.String(),
    "uuid": pl.String(),
    "binary": pl.Binary(),
    "json": pl.String(),
}
_PLAIN_DECIMAL = r"^-?(0|[1-9]\d*)(\.\d+)?$"
_ANY_DECIMAL = re.compile(r"^\s*[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?\s*$")
_INT = r"^\s*[+-]?\d+\s*$"
_BOOLS = {"true": True, "1": True, "false": False, "0": False}
_UUID = re.compile(r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$")
# 2026-11-23, or 20261123 as Google Analytics writes it; fromisoformat would also take weeks.
_DAY = re.compile(r"^\d{4}(-\d{2}-\d{2}|\d{4})$")
_FINER_THAN_MICROS = re.compile(r"[.,]\d{6}\d*[1-9]")
_FINER_THAN_MILLIS = re.compile(r"[.,]\d{3}\d*[1-9]")


class Types:
    """The configured types of a table; converts frames and keeps the statistics true.

    Args:
        types: By path the kind that its values are to have.
    """

    def __init__(self, types: Mapping[str, str]) -> None:
        self._types = {path: kind for path, kind in types.items() if kind != "string"}
        self._moved: dict[str, Counter[tuple[str, str]]] = defaultdict(Counter)

    def apply(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the frame with what can be read as its type moved from `path|<other kind>` to `path|<type>`."""
        for path, kind in self._types.items():
            for other in ("string", "int", "decimal", "double"):
                if other != kind and f"{path}|{other}" in frame.columns:
                    frame = self._move(frame, path, other, kind)
        return frame

    def _move(self, frame: pl.DataFrame, path: str, other: str, kind: str) -> pl.DataFrame:
        source, target = f"{path}|{other}", f"{path}|{kind}"
        values = frame[source].alias(target)
        read = _READERS[kind](values.cast(pl.String))
        if other == "string":
            empty = int((values == "").sum())
            # In a column of another type a quoted nothing is a nothing.
            frame = frame.with_columns(pl.when(pl.col(source) != "").then(pl.col(source)).alias(source))
            self._moved[path][other, "null"] += empty
        left = frame[source].to_frame().with_columns(pl.when(read.is_null()).then(pl.col(source)).alias(source))
        self._moved[path][other, kind] += len(read) - read.null_count()
        frame = frame.with_columns(left.to_series())
        if target in frame.columns:
            frame = frame.with_columns(pl.coalesce(pl.col(target), read).alias(target))
        else:
            # Beside its source: the columns of a table keep the order of the file.
            frame = frame.insert_column(frame.get_column_index(source) + 1, read)
        return frame.drop(source) if frame[source].null_count() == frame.height else frame

    def statistics(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Return the decoder's statistics with the moved values counted under their new type."""
        for path, moved in self._moved.items():
            if path not in fields:
                continue
            types = Counter(fields[path]["types"])
            empty = fields[path]["empty"]
            for (other, kind), count in moved.items():
                count -= _take(types, other, count)
                types[kind] += moved[other, kind] - count
                empty -= moved[other, kind] if kind == "null" else 0
            fields[path] = {**fields[path], "types": {k: n for k, n in sorted(types.items()) if n}, "empty": empty}
        return fields


def _take(types: Counter[str], kind: str, count: int) -> int:
    """Take `count` values from the type names that a kind comes from; return how many were there."""
    left = count
    for name in {"int": ("int32", "int64", "int")}.get(kind, (kind,)):
        taken = min(types[name], left)
        types[name] -= taken
        left -= taken
    return count - left


def _ints(values: pl.Series) -> pl.Series:
    stripped = values.str.strip_chars()
    matched = stripped.str.contains(_INT)
    return stripped.zip_with(matched.fill_null(False), _nulls(values)).cast(pl.Int64, strict=False)


def _doubles(values: pl.Series) -> pl.Series:
    stripped = values.str.strip_chars()
    read = stripped.cast(pl.Float64, strict=False)
    # More than a double can hold is not infinity.
    overflown = read.is_infinite() & stripped.str.contains(r"\d")
    return read.zip_with(~overflown.fill_null(False), _nulls(read))


def _decimals(values: pl.Series) -> pl.Series:
    plain = values.str.contains(_PLAIN_DECIMAL).fill_null(False)
    rest = (~plain & values.is_not_null()).arg_true()
    canonical = values.zip_with(plain, _nulls(values))
    if len(rest):
        canonical = canonical.scatter(rest, [decimal_text(str(values[int(row)])) for row in rest])
    return canonical


def decimal_text(text: str) -> str | None:
    """Return a number's canonical text (`1.20E+3`, `-0`), None when it is no plain number."""
    if not _ANY_DECIMAL.match(text):
        return None
    try:
        return str(Decimal(text.strip()))
    except InvalidOperation:
        return None


def _each(read: Callable[[str], Any], dtype: pl.DataType) -> Callable[[pl.Series], pl.Series]:
    def series(values: pl.Series) -> pl.Series:
        known = {text: read(text) for text in values.unique() if text is not None}
        return pl.Series(values.name, [None if text is None else known[text] for text in values], dtype=dtype)

    return series


def _bool(text: str) -> bool | None:
    return _BOOLS.get(text.strip().lower())


def _day(text: str) -> Any:
    text = text.strip()
    if not _DAY.match(text):
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _moment(finer: re.Pattern[str]) -> Callable[[str], datetime | None]:
    def read(text: str) -> datetime | None:
        try:
            moment = datetime.fromisoformat(text.strip())
        except ValueError:
            return None
        if finer.search(text):
            return None
        # Times without a zone are UTC, by the product's convention.
        try:
            return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        except OverflowError:
            return None

    return read


def _uuid(text: str) -> str | None:
    return text.strip().lower() if _UUID.match(text.strip()) else None


def _objectid(text: str) -> str | None:
    return text.strip().lower() if re.fullmatch(r"[0-9a-fA-F]{24}", text.strip()) else None


def _binary(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


def _json(text: str) -> str | None:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return None
    return text


def _nulls(values: pl.Series) -> pl.Series:
    return pl.Series(values.name, [None], dtype=values.dtype).new_from_index(0, len(values))


_READERS: dict[str, Callable[[pl.Series], pl.Series]] = {
    "int": _ints,
    "double": _doubles,
    "decimal": _decimals,
    "bool": _each(_bool, DTYPES["bool"]),
    "day": _each(_day, DTYPES["day"]),
    "date": _each(_moment(_FINER_THAN_MILLIS), DTYPES["date"]),
    "micros": _each(_moment(_FINER_THAN_MICROS), DTYPES["micros"]),
    "uuid": _each(_uuid, DTYPES["uuid"]),
    "objectid": _each(_objectid, DTYPES["objectid"]),
    "binary": _each(_binary, DTYPES["binary"]),
    "json": _each(_json, DTYPES["json"]),
}
