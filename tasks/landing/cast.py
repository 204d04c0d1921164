"""Values of one landed kind as another: exactly, or not at all."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from tasks.landing.kinds import KINDS, fragment, plain

_Cast = Callable[[pl.Series], pl.Series]
_DAY_MS = 86_400_000
_DAYS = (-(1 << 31), (1 << 31) - 1)
# Polars cannot write a time outside of the years -262143 to 262142 as text: it panics. These bounds, in milliseconds,
# lie within; remove them once it answers with null.
_WRITABLE_MS = (-8_200_000_000_000_000, 8_200_000_000_000_000)
# The years 1 to 9999, which every reader of ISO 8601 knows.
_READABLE_MS = (-62_135_596_800_000, 253_402_300_799_999)
_PER_MS = {"date": 1, "micros": 1_000}


def cast(values: pl.Series, source: str, target: str) -> pl.Series:
    """Return values as another kind; null where they are null, or where that would not tell the same value.

    Args:
        values: Of a landed column.
        source: Its kind.
        target: The kind wanted.
    """
    if source == "string":
        return KINDS[target].parse(values)
    if target == "string":
        return _exact_text(values, source)
    change = _CASTS.get((source, target))
    return change(values) if change else pl.Series(values.name, [None] * len(values), dtype=KINDS[target].dtype)


def text_of(values: pl.Series, kind: str) -> pl.Series:
    """Return one text for each value, different for different values: what `hash` takes."""
    if kind == "binary":
        return values.bin.encode("hex")
    if kind not in ("date", "micros", "day"):
        return values.cast(pl.String)
    written = _within(values, kind, _WRITABLE_MS)
    texts = written.cast(pl.String)
    beyond = (written.is_null() & values.is_not_null()).arg_true()
    if not len(beyond):
        return texts
    return texts.scatter(beyond, [fragment(kind, value) for value in plain(values.gather(beyond), kind)])


def readable(values: pl.Series, kind: str) -> pl.Series:
    """Return times with those outside of the years 1 to 9999 as null."""
    return _within(values, kind, _READABLE_MS)


def _exact_text(values: pl.Series, kind: str) -> pl.Series:
    if kind == "double":
        # Polars writes `inf`.
        return values.cast(pl.String).str.replace("inf", "Infinity", literal=True)
    times = kind in ("date", "micros", "day")
    return text_of(readable(values, kind) if times else values, kind)


def _within(values: pl.Series, kind: str, bounds: tuple[int, int]) -> pl.Series:
    """Return times with those outside of `bounds`, in milliseconds, as null."""
    numbers = plain(values, kind)
    first, last = bounds
    if kind == "day":
        first, last = -(-first // _DAY_MS), last // _DAY_MS
    else:
        first, last = first * _PER_MS[kind], (last + 1) * _PER_MS[kind] - 1
    return _where(values, numbers.is_between(first, last))


def _where(values: pl.Series, condition: pl.Series) -> pl.Series:
    empty = pl.Series(values.name, [None], dtype=values.dtype).new_from_index(0, len(values))
    return values.zip_with(condition.fill_null(False), empty)


def _double_of_int(values: pl.Series) -> pl.Series:
    doubles = values.cast(pl.Float64)
    return _where(doubles, doubles.cast(pl.Int64, strict=False) == values)


def _int_of_double(values: pl.Series) -> pl.Series:
    ints = values.cast(pl.Int64, strict=False)
    # An integer has no sign of its zero.
    return _where(ints, (ints.cast(pl.Float64) == values) & (values.cast(pl.String) != "-0.0"))


def _decimal_of_double(values: pl.Series) -> pl.Series:
    texts = values.cast(pl.String)
    return KINDS["decimal"].parse(_where(texts, texts != "-0.0"))


def _bool_of_int(values: pl.Series) -> pl.Series:
    return _where(values == 1, values.is_between(0, 1))


def _ints(values: pl.Series) -> pl.Series:
    return values.cast(pl.Int64)


def _times_of_int(kind: str) -> _Cast:
    return lambda values: values.cast(KINDS[kind].dtype)


def _micros_of_date(values: pl.Series) -> pl.Series:
    numbers = values.cast(pl.Int64)
    bound = (1 << 63) // 1_000 - 1
    return (_where(numbers, numbers.is_between(-bound, bound)) * 1_000).cast(KINDS["micros"].dtype)


def _date_of_micros(values: pl.Series) -> pl.Series:
    numbers = values.cast(pl.Int64)
    return (_where(numbers, numbers % 1_000 == 0) // 1_000).cast(KINDS["date"].dtype)


def _day_of(kind: str) -> _Cast:
    units = _DAY_MS * _PER_MS[kind]

    def change(values: pl.Series) -> pl.Series:
        numbers = values.cast(pl.Int64)
        days = numbers // units
        return _where(days, (numbers % units == 0) & days.is_between(*_DAYS)).cast(pl.Int32).cast(pl.Date)

    return change


def _of_day(kind: str) -> _Cast:
    units = _DAY_MS * _PER_MS[kind]
    bound = (1 << 63) // units - 1

    def change(values: pl.Series) -> pl.Series:
        days = values.cast(pl.Int32).cast(pl.Int64)
        return (_where(days, days.is_between(-bound, bound)) * units).cast(KINDS[kind].dtype)

    return change


_CASTS: dict[tuple[str, str], _Cast] = {
    ("int", "double"): _double_of_int,
    ("int", "decimal"): lambda values: values.cast(pl.String),
    ("int", "bool"): _bool_of_int,
    ("int", "date"): _times_of_int("date"),
    ("int", "micros"): _times_of_int("micros"),
    ("double", "int"): _int_of_double,
    ("double", "decimal"): _decimal_of_double,
    ("decimal", "int"): KINDS["int"].parse,
    ("decimal", "double"): KINDS["double"].parse,
    ("bool", "int"): _ints,
    ("date", "int"): _ints,
    ("date", "micros"): _micros_of_date,
    ("date", "day"): _day_of("date"),
    ("micros", "int"): _ints,
    ("micros", "date"): _date_of_micros,
    ("micros", "day"): _day_of("micros"),
    ("day", "date"): _of_day("date"),
    ("day", "micros"): _of_day("micros"),
}
"""Beside those from and to text; numbers as times count milliseconds (`date`) or microseconds (`micros`) since 1970."""
