"""Text columns into the types that sources.yaml gives them: a value that cannot be read exactly stays text.

Files and APIs spell values in more ways than a cast reads: blanks around a value, a plus sign, zeros in front,
`20261123`, `TRUE`, capital letters in a UUID, times of other zones. What a value tells is never changed.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from types import MappingProxyType
from typing import Any

import polars as pl

from tasks.landing.cast import cast
from tasks.landing.kinds import KINDS
from tasks.sources import Table
from tasks.sources.spelling import Spelling

_ANY_DECIMAL = re.compile(r"\s*[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?\s*")
_BOOLS = {"true": "true", "1": "true", "false": "false", "0": "false"}
_NOT_FINITE = {"nan": "NaN", "inf": "Infinity", "infinity": "Infinity", "-inf": "-Infinity", "-infinity": "-Infinity"}
_NUMBERS = ("int", "decimal", "double")
_TIMES = ("day", "date", "micros")
_FINER_THAN_MICROS = re.compile(r"[.,]\d{6}\d*[1-9]")


class Types:
    """The configured types of a relation; converts frames and keeps the statistics true.

    Args:
        types: By path the kind that its values are to have.
        spellings: By path how its texts spell them, where that is not the kind's own way.
    """

    def __init__(self, types: Mapping[str, str], spellings: Mapping[str, Spelling] = MappingProxyType({})) -> None:
        self._types = types
        self._spellings = spellings
        self._moved: dict[str, Counter[tuple[str, str]]] = defaultdict(Counter)

    def apply(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the frame with what can be read as its type moved from `path|<other kind>` to `path|<type>`."""
        for path, kind in self._types.items():
            for other in KINDS:
                if other != kind and f"{path}|{other}" in frame.columns:
                    frame = self._move(frame, path, other, kind)
        return frame

    def _move(self, frame: pl.DataFrame, path: str, other: str, kind: str) -> pl.DataFrame:
        source, target = f"{path}|{other}", f"{path}|{kind}"
        values = frame[source].alias(target)
        read = self._read(path, values, other, kind)
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

    def _read(self, path: str, values: pl.Series, other: str, kind: str) -> pl.Series:
        """Return values of another kind as the type wanted, null where that would not tell the same value."""
        if other == "string":
            return _read(self._spelt(path, values, kind), kind)
        if other not in _NUMBERS or kind == "string":
            return cast(values, other, kind)
        read = _read(values.cast(pl.String), kind)
        # A number is no time, unless its digits spell a day.
        return read if kind in _TIMES else read.zip_with(read.is_not_null(), cast(values, other, kind))

    def _spelt(self, path: str, texts: pl.Series, kind: str) -> pl.Series:
        spelling = self._spellings.get(path)
        if spelling is None:
            return texts
        plain = [None if text is None else spelling.plain(text, kind) for text in texts]
        return pl.Series(texts.name, plain, dtype=pl.String)

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
            converted = sum(count for (_, kind), count in moved.items() if kind != "null")
            counts = {name: count for name, count in sorted(types.items()) if count}
            fields[path] = {**fields[path], "types": counts, "empty": empty, "converted": converted}
        return fields


class TableTypes:
    """The types of a table and of its child tables.

    Args:
        table: Its configuration.
        more: By path the kinds of columns that the source itself gives.
        spellings: By path how its texts spell values of its type.
    """

    def __init__(
        self,
        table: Table,
        more: Mapping[str, str] = MappingProxyType({}),
        spellings: Mapping[str, Spelling] = MappingProxyType({}),
    ) -> None:
        self._relations = {"": Types({**more, **table.types_in("")}, spellings)}
        self._relations |= {child: Types(types) for child in table.child_paths if (types := table.types_in(child))}

    def apply_tables(self, tables: Mapping[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
        """Return frames by child path, `""` for the rows, with what can be read as its type as that."""
        return {
            child: self._relations[child].apply(frame) if child in self._relations else frame
            for child, frame in tables.items()
        }

    def statistics(self, relations: dict[str, Any]) -> dict[str, Any]:
        """Return statistics by child path as they are after the conversions."""
        for child, types in self._relations.items():
            if child in relations:
                fields = types.statistics(dict(relations[child]["fields"]))
                relations[child] = {**relations[child], "fields": fields}
        return relations


def _take(types: Counter[str], kind: str, count: int) -> int:
    """Take `count` values from the type names that a kind comes from; return how many were there."""
    left = count
    for name in {"int": ("int32", "int64", "int")}.get(kind, (kind,)):
        taken = min(types[name], left)
        types[name] -= taken
        left -= taken
    return count - left


def decimal_text(text: str) -> str | None:
    """Return a number's canonical text (`1.20E+3`, `-0`), None when it is no plain number."""
    if not _ANY_DECIMAL.fullmatch(text):
        return None
    try:
        return str(Decimal(text.strip()))
    except InvalidOperation:
        return None


def _read(values: pl.Series, kind: str) -> pl.Series:
    """Return texts read as a kind; only those that are not spelt as its parser wants are looked at twice."""
    read = KINDS[kind].parse(values)
    odd = (read.is_null() & values.is_not_null()).arg_true()
    if not len(odd) or kind not in _SPELT:
        return read
    return read.scatter(odd, KINDS[kind].parse(_SPELT[kind](values.gather(odd))))


# -- spellings ------------------------------------------------------------------------------------------------------


def _ints(values: pl.Series) -> pl.Series:
    texts = values.str.strip_chars().str.replace(r"^\+([0-9])", "$1").str.replace(r"^(-?)0+([0-9])", "$1$2")
    return texts.str.replace(r"^-0$", "0")


def _decimals(values: pl.Series) -> pl.Series:
    return pl.Series(values.name, [decimal_text(text) for text in values], dtype=pl.String)


def _doubles(values: pl.Series) -> pl.Series:
    numbers = _decimals(values)
    others = (numbers.is_null() & values.is_not_null()).arg_true()
    return numbers.scatter(others, [_NOT_FINITE.get(values[row].strip().lower()) for row in others])


def _days(values: pl.Series) -> pl.Series:
    return values.str.strip_chars().str.replace(r"^([0-9]{4})([0-9]{2})([0-9]{2})$", "$1-$2-$3")


def _lower(values: pl.Series) -> pl.Series:
    return values.str.strip_chars().str.to_lowercase()


def _bools(values: pl.Series) -> pl.Series:
    return _lower(values).replace_strict(_BOOLS, default=None, return_dtype=pl.String)


def _moments(values: pl.Series) -> pl.Series:
    known = {text: _moment(text) for text in values.unique() if text is not None}
    return pl.Series(values.name, [known.get(text) for text in values], dtype=pl.String)


def _moment(text: str) -> str | None:
    """Return a time in UTC; one without a zone is UTC, by the product's convention."""
    if _FINER_THAN_MICROS.search(text):
        return None
    try:
        moment = datetime.fromisoformat(text.strip())
        return (moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)).isoformat()
    except (ValueError, OverflowError):
        return None


_SPELT: dict[str, Callable[[pl.Series], pl.Series]] = {
    "int": _ints,
    "double": _doubles,
    "decimal": _decimals,
    "bool": _bools,
    "day": _days,
    "date": _moments,
    "micros": _moments,
    "uuid": _lower,
    "objectid": _lower,
}
"""By kind, its spellings in files as the one that the kind's own parser reads."""
