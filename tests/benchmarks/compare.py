"""What each loader made of the same documents: values lost or altered, counted against the documents themselves."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from tests.benchmarks.inputs import SHAPES

_SAMPLE = 2_000


def differences(url: str, schema: str, table: str, shape: str, key: str = "_id") -> dict[str, Any]:
    """Compare a sample of rows with the documents; return rows, and by field how many values differ and an example.

    A value counts as equal when the column holds it without loss, whatever the column's type is: a number as an equal
    number, a text as that text, a time as that moment.
    """
    with psycopg.connect(url, row_factory=dict_row) as connection:
        name = sql.Identifier(schema, table)
        counted = connection.execute(sql.SQL("select count(*) as n from {}").format(name)).fetchone()
        rows = connection.execute(
            sql.SQL("select * from {} order by {} limit {}").format(name, sql.Identifier(key), sql.Literal(_SAMPLE))
        ).fetchall()
        _add_children(connection, schema, table, rows)
    dice, made = random.Random(7), []
    for number in range(_SAMPLE):
        made.append(SHAPES[shape](number, dice))
    wrong: dict[str, list[str]] = {}
    for document, row in zip(made, rows, strict=False):
        for path, value in _leaves(document):
            held = _held(row, path)
            if not _equal(value, held):
                wrong.setdefault(".".join(path), []).append(f"{value!r} became {held!r}")
    fields = {field: {"values": len(found), "example": found[0]} for field, found in wrong.items()}
    return {"rows": counted["n"] if counted else 0, "fields": fields}


def _add_children(connection: psycopg.Connection[Any], schema: str, table: str, rows: list[dict[str, Any]]) -> None:
    """Give each row the lists that dlt put into child tables, one entry for each child row."""
    found = connection.execute(
        "select table_name from information_schema.tables where table_schema = %s and starts_with(table_name, %s)",
        [schema, f"{table}__"],
    ).fetchall()
    for child in (row["table_name"] for row in found):
        children = connection.execute(
            sql.SQL("select _dlt_parent_id, _dlt_list_idx from {} where _dlt_parent_id = any(%s)").format(
                sql.Identifier(schema, child)
            ),
            [[row["_dlt_id"] for row in rows]],
        ).fetchall()
        lists: dict[str, list[int]] = {row["_dlt_id"]: [] for row in rows}
        for entry in children:
            lists[entry["_dlt_parent_id"]].append(entry["_dlt_list_idx"])
        for row in rows:
            row[child.removeprefix(f"{table}__")] = lists[row["_dlt_id"]]


def _leaves(document: dict[str, Any], path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    found: list[tuple[tuple[str, ...], Any]] = []
    for key, value in document.items():
        found += _leaves(value, (*path, key)) if isinstance(value, dict) else [((*path, key), value)]
    return found


def _held(row: dict[str, Any], path: tuple[str, ...]) -> Any:
    """Return the row's value of a path: in a flattened column, or inside a JSON column of its first key."""
    names = {name.lower(): value for name, value in row.items()}
    for joined in ("__".join(path).lower(), "_".join(path).lower(), path[-1].lower() if len(path) == 1 else ""):
        if joined in names:
            return names[joined]
    value = names.get(path[0].lower())
    value = json.loads(value) if isinstance(value, str) and value[:1] == "{" else value
    for key in path[1:]:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _equal(value: Any, held: Any) -> bool:
    if held is None:
        return value is None
    kinds: tuple[tuple[type, Callable[[], bool]], ...] = (
        (bool, lambda: held is value or str(held).lower() == str(value).lower()),
        (str, lambda: isinstance(held, str) and held == value),
        (list, lambda: _same_json(value, held)),
        (datetime, lambda: isinstance(held, datetime) and held == value),
        (int, lambda: _number(held) == value),
        (float, lambda: held == value or _number(held) == Decimal(repr(value))),
    )
    for kind, same in kinds:
        if isinstance(value, kind):
            return same()
    text = str(value)
    if text.replace(".", "", 1).lstrip("-").isdigit():
        return not isinstance(held, float) and _number(held) == Decimal(text)
    return str(held) == text


def _number(held: Any) -> Decimal | None:
    """Return the number that a column holds, also as text; None when it holds none."""
    try:
        return Decimal(str(held))
    except InvalidOperation:
        return None


def _same_json(value: list[Any], held: Any) -> bool:
    parsed = json.loads(held) if isinstance(held, str) else held
    return isinstance(parsed, list) and len(parsed) == len(value)
