"""One form of a row that both the source's documents and bronze's columns can be brought to, for comparing them.

A row is a mapping from path to text. Numbers compare by value (5, 5.0 and Decimal 5.0 are one), times by the
microsecond, jsonb without the order of keys; everything else exactly.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, InvalidOperation
from typing import Any

import polars as pl

from tasks.bronze import extended, kinds, names
from tasks.bronze.plan import Column
from tasks.landing.kinds import fragment, plain

Row = dict[str, str]
# Enough for every double and Decimal128 written out; normalising must never round.
_EXACT = Context(prec=20_000, Emax=MAX_EMAX, Emin=MIN_EMIN)
# One for all: making a decoder takes longer than most values.
_read = json.JSONDecoder(parse_float=Decimal).decode
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY = 86_400_000_000


def of_landed(frame: pl.DataFrame) -> Iterator[Row]:
    """Yield the canonical rows of a landed frame."""
    columns: list[tuple[str, str, list[Any]]] = []
    for path, found in kinds.landed_kinds(frame.columns).items():
        columns += [(path, kind, plain(frame[f"{path}|{kind}"], kind).to_list()) for kind in found]
    rescued = frame["_rescued"].to_list() if "_rescued" in frame.columns else [None] * frame.height
    for index in range(frame.height):
        fragments = {path: fragment(kind, values[index]) for path, kind, values in columns if values[index] is not None}
        if rescued[index]:
            yield _of_rescued(_loaded(extended.merge(fragments, rescued[index])), {})
        else:
            yield {path: canonical(text) for path, text in fragments.items()}


def of_bronze(columns: Sequence[Column], values: Sequence[Any], rescued: str | None, *, child: bool = False) -> Row:
    """Return the canonical row of what a destination gives.

    Args:
        columns: The relation's stored columns.
        values: One value per column.
        rescued: Text of `_rescued`.
        child: Whether it is a row of a child table: `_id` is a field of the element then, else the row's whole key.
    """
    kept = _loaded(rescued) if rescued else {}
    row: Row = {}
    for column, value in zip(columns, values, strict=True):
        # What is rescued is the original; the column holds at most a readable form of it.
        if value is None or column.path in kept:
            continue
        text = canonical(_fragment(column.kind, value))
        # Two columns of a path must not both have a value: such a row equals no document.
        row[column.path] = f"{row[column.path]} beside {text}" if column.path in row else text
    return _of_rescued(kept if child else {path: value for path, value in kept.items() if path != "_id"}, row)


def canonical(fragment: str) -> str:
    """Return the canonical text of one extended JSON value."""
    return _canonical(_read(fragment))


def _loaded(rescued: str) -> dict[str, Any]:
    """Return `_rescued` by landed path."""
    return {names.landed(stored): value for stored, value in _read(rescued).items()}


def _of_rescued(kept: Mapping[str, Any], row: Row) -> Row:
    """Return a row with what its `_rescued` says of it."""
    return row | {path: _canonical(value) for path, value in kept.items()}


def _canonical(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, int | Decimal):
        return _number(str(value))
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, dict) and len(value) == 1:
        [(key, inner)] = value.items()
        if key in _SPECIAL:
            try:
                return str(_SPECIAL[key](inner))
            except (TypeError, ValueError, KeyError, InvalidOperation):
                return _plain_json(value)
    return _plain_json(value)


def _plain_json(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(key)}:{_plain_json(value[key])}" for key in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_plain_json(item) for item in value) + "]"
    return _canonical(value)


def _number(text: str) -> str:
    number = _EXACT.create_decimal(text)
    if number.is_nan():
        return "NaN"
    if number.is_infinite() or (number.is_zero() and number.is_signed()):
        return ("-" if number.is_signed() else "") + ("Infinity" if number.is_infinite() else "0")
    return "0" if number.is_zero() else str(number.normalize(_EXACT))


def _date(value: Any) -> str:
    if isinstance(value, dict):
        return f"t{int(value['$numberLong']) * 1000}"
    moment = datetime.fromisoformat(value) - _EPOCH
    return f"t{(moment.days * 86_400 + moment.seconds) * 1_000_000 + moment.microseconds}"


def _base64_text(value: Any) -> str:
    raw = base64.b64decode(value["base64"])
    try:
        return json.dumps(raw.decode())
    except UnicodeDecodeError:
        return f"bytes:{value['base64']}"


_SPECIAL: Mapping[str, Any] = {
    "$numberDouble": _number,
    "$numberDecimal": _number,
    "$date": _date,
    "$micros": lambda value: f"t{value}",
    "$day": lambda value: f"t{value * _DAY}",
    "$text": _base64_text,
    "$json": lambda value: canonical(base64.b64decode(value["base64"]).decode()),
}


def _fragment(kind: str, value: Any) -> str:
    """Return a fetched value as extended JSON; a time to the microsecond, whatever its source can hold."""
    if kind == "date":
        return fragment("micros", value)
    return fragment(kind, bytes(value) if kind == "binary" else value)
