"""Values as extended JSON text, in a form that jsonb accepts and that loses nothing."""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import orjson
import polars as pl

from tasks.bronze import names

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_READABLE_MS = 253_402_300_799_999
# `\u0000` as an escape: an even number of backslashes before it. jsonb cannot hold it.
_NUL_ESCAPE = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")


def has_nul(text: str) -> bool:
    """Return whether a JSON text holds an escaped NUL, which jsonb refuses."""
    return "\\u0000" in text and _NUL_ESCAPE.search(text) is not None


def without_nul(text: str) -> str:
    """Return a JSON text with escaped NULs left out."""
    previous = None
    while previous != text:
        previous, text = text, _NUL_ESCAPE.sub(r"\1", text)
    return text


def fragment(kind: str, value: Any) -> str:
    """Return the extended JSON text of a landed value.

    Args:
        kind: Landed kind.
        value: As Polars gives it; dates as int milliseconds, `micros` as int microseconds since 1970.
    """
    return str(_WRITERS[kind](value))


def safe_json(text: str) -> str:
    """Return a JSON text as it is, or wrapped in base64 where jsonb would refuse or shorten it."""
    return wrapped(text) if has_nul(text) or repeats_key(text) else text


def repeats_key(text: str) -> bool:
    """Return whether an object in a JSON text has a key twice: jsonb keeps only the last."""
    if "{" not in text:
        return False
    found = False

    def look(pairs: list[tuple[str, Any]]) -> None:
        nonlocal found
        found = found or len({key for key, _ in pairs}) < len(pairs)

    json.loads(text, object_pairs_hook=look)
    return found


def wrapped(text: str) -> str:
    """Return a JSON text wrapped in base64: kept to the letter."""
    return _base64("$json", text)


def merge(own: Mapping[str, str], decoder: str | None) -> str:
    """Return the `_rescued` object as text.

    By path it holds the original of a value whose column holds none, or a changed form of it; by `path|duplicates` the
    later values of a key that a document has more than once.

    Args:
        own: The loader's fragments by path.
        decoder: What was set aside before.
    """
    parts = {path: safe_json(text) for path, text in own.items()}
    if decoder:
        parts |= json.loads(decoder, object_pairs_hook=_Pairs).items()
    return "{" + ",".join(f"{quote(names.stored(path))}:{text}" for path, text in parts.items()) + "}"


class _Pairs(list[tuple[str, Any]]):
    """A JSON object as pairs: nested duplicate keys stay."""

    def items(self) -> list[tuple[str, str]]:
        return [(key, safe_json(_dump(value))) for key, value in self]


def _dump(value: Any) -> str:
    if isinstance(value, _Pairs):
        return "{" + ",".join(f"{quote(key)}:{_dump(item)}" for key, item in value) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_dump(item) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False)


def quote(text: str) -> str:
    """Return a JSON string."""
    return orjson.dumps(text).decode()


def _base64(key: str, text: str) -> str:
    return f'{{"{key}":{{"base64":"{base64.b64encode(text.encode()).decode()}"}}}}'


def _string(value: str) -> str:
    return _base64("$text", value) if "\x00" in value else quote(value)


def _double(value: float) -> str:
    if math.isnan(value):
        return '{"$numberDouble":"NaN"}'
    if math.isinf(value):
        return f'{{"$numberDouble":"{"-" if value < 0 else ""}Infinity"}}'
    if value == 0 and math.copysign(1, value) < 0:
        return '{"$numberDouble":"-0.0"}'
    return repr(value)


def _date(milliseconds: int) -> str:
    if not 0 <= milliseconds <= _LAST_READABLE_MS:
        return f'{{"$date":{{"$numberLong":"{milliseconds}"}}}}'
    moment = _EPOCH + timedelta(milliseconds=milliseconds)
    tail = f".{milliseconds % 1000:03d}Z" if milliseconds % 1000 else "Z"
    return f'{{"$date":"{moment:%Y-%m-%dT%H:%M:%S}{tail}"}}'


def _day(value: date | int) -> str:
    return f'{{"$day":"{value.isoformat()}"}}' if isinstance(value, date) else f'{{"$day":{value}}}'


_WRITERS: dict[str, Any] = {
    "int": str,
    "double": _double,
    "decimal": lambda value: f'{{"$numberDecimal":"{value}"}}',
    "string": _string,
    "bool": lambda value: "true" if value else "false",
    "date": _date,
    "objectid": lambda value: f'{{"$oid":{quote(value)}}}',
    "uuid": lambda value: f'{{"$uuid":"{value}"}}',
    "binary": lambda value: f'{{"$binary":{{"base64":"{base64.b64encode(value).decode()}","subType":"00"}}}}',
    "json": str,
    "day": _day,
    "micros": lambda value: f'{{"$micros":{value}}}',
}


def plain(values: pl.Series, kind: str) -> pl.Series:
    """Return values as Python can hold them: dates as numbers, since Python's own end at year 9999."""
    if kind in ("date", "micros"):
        return values.cast(pl.Int64)
    return values.cast(pl.Int32) if kind == "day" else values
