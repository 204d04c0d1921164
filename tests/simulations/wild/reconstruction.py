"""Documents made again from bronze by what the docs say, and by nothing of the product.

They are docs/exactness.md and docs/sources/mongodb.md.

Documents of the source and those of bronze are brought into one form, in which only that is alike which the table "What
columns cannot tell apart" lists.
"""

from __future__ import annotations

import base64
import json
import math
import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
from bson import Binary, Int64, ObjectId, Regex, Timestamp
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128
from psycopg import sql

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Tree = Any
_OBJECT_ID = re.compile("[0-9a-f]{24}")


@dataclass(frozen=True)
class Number:
    """A number by its value; of one with a scale (1.20 is not 1.2) the digits, too."""

    value: Decimal | str
    digits: str | None = None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Number) or self.value != other.value:
            return False
        return self.digits is None or other.digits is None or self.digits == other.digits

    __hash__ = None  # type: ignore[assignment]


def number_of(value: Any) -> Number:
    """Return a number of any type; what is not finite, and a negative zero, by name."""
    if isinstance(value, float):
        if not math.isfinite(value):
            return Number(str(Decimal(value)))
        return Number("-0") if value == 0 and math.copysign(1, value) < 0 else Number(Decimal(repr(value)))
    if isinstance(value, Decimal):
        if not value.is_finite():
            return Number(str(value).lstrip("s"))
        return Number("-0") if value.is_zero() and value.is_signed() else Number(value, format(value, "f"))
    return Number(Decimal(value))


# -- documents of the source


def of_source(value: Any, arrays: tuple[str, ...] = (), top: bool = True) -> Tree:
    """Return the form of a document, or of a value in one.

    Args:
        value: As the driver gives it.
        arrays: Fields that have a child table.
        top: Whether it is the document itself.
    """
    if isinstance(value, dict):
        made = {key: of_source(one, top=False) for key, one in value.items()}
        if top:
            for name in arrays:
                if name in made:
                    made[name] = elements(made[name])
        return made
    if isinstance(value, list):
        return [of_source(one, top=False) for one in value]
    if isinstance(value, Decimal128):
        return number_of(value.to_decimal())
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, (int, float, Int64)):
        return number_of(value)
    return of_other(value)


def of_other(value: Any) -> Tree:
    """Return the form of a value that is neither a number nor made of others."""
    if isinstance(value, str):
        return ("text", value)
    if isinstance(value, DatetimeMS):
        return ("date", int(value))
    if isinstance(value, datetime):
        return ("date", (value - EPOCH) // timedelta(milliseconds=1))
    if isinstance(value, uuid.UUID):
        return ("uuid", str(value))
    if isinstance(value, ObjectId):
        return ("objectid", str(value))
    if isinstance(value, (Binary, bytes)):
        subtype = getattr(value, "subtype", 0)
        return ("uuid", str(uuid.UUID(bytes=bytes(value)))) if subtype == 4 else ("binary", subtype, bytes(value))
    if isinstance(value, Regex):
        flags = "".join(letter for letter, bit in (("i", 2), ("m", 8), ("s", 16), ("x", 64)) if value.flags & bit)
        return ("regex", value.pattern, flags)
    if isinstance(value, Timestamp):
        return ("timestamp", value.time, value.inc)
    raise TypeError(f"no form for {value!r}")


def elements(value: Tree) -> Tree:
    """Return the rows that an array has in its child table; an object in the array's place is its only element."""
    found = value if isinstance(value, list) else [] if value is None else [value]
    return [one if isinstance(one, dict) else {"value": one} for one in found]


def without_nulls(tree: Tree) -> Tree:
    """Take out what columns cannot tell: null and missing, a document of nulls alone and a missing one."""
    if isinstance(tree, list):
        return [(without_nulls(one) or {}) if isinstance(one, dict) else without_nulls(one) for one in tree]
    if not isinstance(tree, dict) or not tree:
        return tree
    kept = {key: without_nulls(one) for key, one in tree.items()}
    return {key: one for key, one in kept.items() if one is not None} or None


# -- extended JSON


def of_json(value: Any) -> Tree:
    """Return the form of a value that stands in a column of JSON, or in `_rescued`."""
    if isinstance(value, dict):
        special = of_special(value)
        return {key: of_json(one) for key, one in value.items()} if special is None else special
    if isinstance(value, list):
        return [of_json(one) for one in value]
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, (int, Decimal)):
        # Digits of JSON are those of a number without a scale.
        return Number(number_of(value).value)
    return ("text", value)


def of_special(value: Mapping[str, Any]) -> Tree | None:
    """Return the form of an object of extended JSON; None for any other."""
    if len(value) != 1:
        return None
    [(key, held)] = value.items()
    if key == "$numberDecimal":
        return number_of(Decimal(held))
    if key == "$numberDouble":
        return number_of(float(held))
    if key == "$numberLong":
        return number_of(int(held))
    if key == "$date":
        return ("date", milliseconds(held))
    if key == "$oid":
        return ("objectid", held)
    if key == "$uuid":
        return ("uuid", str(uuid.UUID(held)))
    if key == "$binary":
        return of_other(Binary(base64.b64decode(held["base64"]), int(held["subType"], 16)))
    if key == "$regularExpression":
        return ("regex", held["pattern"], held["options"])
    if key == "$timestamp":
        return ("timestamp", held["t"], held["i"])
    if key == "$text":
        return ("text", base64.b64decode(held["base64"]).decode())
    if key == "$json":
        return of_json(loads(base64.b64decode(held["base64"])))
    return None


def milliseconds(held: Any) -> int:
    """Return the milliseconds of `$date`, which tells them by number where no calendar does."""
    if isinstance(held, dict):
        return int(held["$numberLong"])
    return (datetime.fromisoformat(held) - EPOCH) // timedelta(milliseconds=1)


def loads(text: str | bytes) -> Any:
    """Read JSON without a double between its digits and us."""
    return json.loads(text, parse_float=Decimal)


# -- rows of bronze

_READ = {
    "jsonb": "{}::text",
    "timestamp with time zone": "(extract(epoch from {}) * 1000)::text",
    "numeric": "{}::text",
    "bytea": "{}",
}


def of_column(kind: str, value: Any) -> Tree:
    """Return the form of a column's value."""
    if value is None:
        return None
    if kind == "jsonb":
        return of_json(loads(value))
    if kind == "timestamp with time zone":
        return ("date", int(Decimal(value)))
    if kind in ("bigint", "double precision"):
        return number_of(value)
    if kind == "numeric":
        return number_of(Decimal(value))
    if kind == "text":
        # An ObjectId is its digits; texts of the application are never like them.
        return ("objectid", value) if _OBJECT_ID.fullmatch(value) else ("text", value)
    if kind == "uuid":
        return ("uuid", str(value))
    if kind == "bytea":
        return ("binary", 0, bytes(value))
    if kind == "boolean":
        return value
    raise TypeError(f"no form for a column of type {kind}")


def keys_of(path: str) -> list[str]:
    """Return the keys of a path; a dot within a key has a backslash before it."""
    return [key.replace("\\.", ".").replace("\\\\", "\\") for key in re.split(r"(?<!\\)\.", path)]


def put(tree: dict[str, Any], path: str, value: Tree) -> None:
    """Set a value by its path; a document in its place stays and takes it in."""
    keys = keys_of(path)
    for key in keys[:-1]:
        if not isinstance(tree.get(key), dict):
            tree[key] = {}
        tree = tree[key]
    tree[keys[-1]] = value


def rows(connection: psycopg.Connection[Any], relation: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield of each row of a relation what stands for the document, and the columns that are the warehouse's own."""
    columns = connection.execute(
        "select path, column_name, data_type from ops.bronze_columns where relation = %s order by path, position desc",
        [relation],
    ).fetchall()
    [own_names] = connection.execute(
        "select array_agg(column_name::text) from information_schema.columns where table_schema = 'bronze' and"
        " table_name = %s and column_name = any('{_id,_root_id,_position,_deleted_at,_rescued,_valid_to}')",
        [relation],
    ).fetchone()
    own = [sql.SQL("_rescued::text") if name == "_rescued" else sql.Identifier(name) for name in own_names]
    asked = [sql.SQL(_READ.get(kind, "{}")).format(sql.Identifier(name)) for _, name, kind in columns]
    query = sql.SQL("select {} from {}").format(sql.SQL(", ").join(own + asked), sql.Identifier("bronze", relation))
    for row in connection.execute(query):
        mine = dict(zip(own_names, row, strict=False))
        tree: dict[str, Any] = {}
        for (path, _, kind), value in zip(columns, row[len(own_names) :], strict=True):
            if value is not None:
                put(tree, path, of_column(kind, value))
        for path, value in (loads(mine["_rescued"]) if mine["_rescued"] else {}).items():
            put(tree, path, of_json(value))
        yield tree, mine


def id_of(text: str) -> Tree:
    """Return the form of an `_id`: see "The bronze table"."""
    if _OBJECT_ID.fullmatch(text):
        return ("objectid", text)
    try:
        found = loads(text)
    except ValueError:
        return ("text", text)
    return of_json(found)


@dataclass
class Found:
    """The documents of a table in bronze, by the form of their keys: living ones, and the last of those that are gone.

    Attributes:
        keys: By the form of each key how bronze writes it.
    """

    living: dict[str, Tree]
    gone: dict[str, Tree]
    keys: dict[str, str]


def documents(connection: psycopg.Connection[Any], relation: str, arrays: tuple[str, ...]) -> Found:
    """Return all documents that bronze has of a table.

    Args:
        connection: Of the warehouse.
        relation: The table's relation, such as `app__orders`.
        arrays: Fields that have a child table.
    """
    made: dict[str, tuple[Tree, bool]] = {}
    for tree, own in rows(connection, relation):
        made[own["_id"]] = (tree, own["_deleted_at"] is not None)
    for name in arrays:
        child = f"{relation}__{name}"
        [exists] = connection.execute("select to_regclass('bronze.' || quote_ident(%s))", [child]).fetchone()
        for tree, _ in made.values():
            tree[name] = []
        if exists is None:
            continue
        found: dict[str, list[tuple[int, Tree]]] = {}
        for tree, own in rows(connection, child):
            parent_is_gone = made[own["_root_id"]][1]
            if own["_deleted_at"] is None or parent_is_gone:
                found.setdefault(own["_root_id"], []).append((own["_position"], tree))
        for root, members in found.items():
            members.sort(key=lambda pair: pair[0])
            assert [position for position, _ in members] == list(range(len(members))), (child, root, members)
            made[root][0][name] += [one for _, one in members]
    every = {repr(id_of(key)): (tree, gone) for key, (tree, gone) in made.items()}
    return Found(
        {key: without_nulls(tree) for key, (tree, gone) in every.items() if not gone},
        {key: without_nulls(tree) for key, (tree, gone) in every.items() if gone},
        {repr(id_of(key)): key for key in made},
    )


def by_path(row: Mapping[str, Any]) -> dict[str, Tree]:
    """Return the form of a rejected row, without what is the warehouse's own."""
    tree: dict[str, Tree] = {}
    for path, value in row.items():
        if path not in ("_id", "_root_id", "_parent_id", "_rescued", "_op"):
            put(tree, path, of_json(value))
    for path, value in loads(row.get("_rescued", "{}")).items():
        put(tree, path, of_json(value))
    return tree


def rejects(connection: psycopg.Connection[Any], table: str, arrays: tuple[str, ...]) -> dict[str, Tree]:
    """Return by the form of their keys the documents that wait in `ops.rejects`, of each the last.

    Args:
        connection: Of the warehouse.
        table: The table's name.
        arrays: Fields that have a child table.
    """
    rows = connection.execute(
        "select document_id, document from ops.rejects where table_name = %s and outcome is distinct from 'loaded'"
        " order by id", [table]
    ).fetchall()  # fmt: skip
    made = {}
    for key, text in rows:
        # Fields stand there by their path; child rows have keys of their own.
        found = loads(text)
        children = {name: found.pop(name) for name in arrays if isinstance(found.get(name), list)}
        tree = by_path(found)
        for name in arrays:
            tree[name] = elements(tree.get(name)) + [by_path(one) for one in children.get(name, [])]
        made[repr(id_of(key))] = without_nulls(tree)
    return made


def history(
    connection: psycopg.Connection[Any], relation: str, arrays: tuple[str, ...]
) -> dict[str, list[tuple[Tree, bool]]]:
    """Return by the form of their keys the versions of documents without arrays, and whether each is still valid."""
    made: dict[str, list[tuple[Tree, bool]]] = {}
    for tree, own in rows(connection, f"{relation}__history"):
        version = without_nulls({name: one for name, one in tree.items() if name not in arrays})
        made.setdefault(repr(id_of(own["_id"])), []).append((version, own["_valid_to"] is None))
    return made


def expected(document: Mapping[str, Any], arrays: tuple[str, ...]) -> tuple[str, Tree]:
    """Return a document of the source: the form of its key, and its own."""
    form = of_source(dict(document), arrays)
    key = repr(form.pop("_id"))
    for name in arrays:
        form.setdefault(name, [])
    return key, without_nulls(form)


def differences(source: Tree, bronze: Tree, path: str = "") -> Iterator[str]:
    """Yield what differs, by path."""
    if isinstance(source, dict) and isinstance(bronze, dict):
        for key in sorted({*source, *bronze}):
            yield from differences(source.get(key), bronze.get(key), f"{path}.{key}" if path else key)
    elif isinstance(source, list) and isinstance(bronze, list) and len(source) == len(bronze):
        for number, (one, other) in enumerate(zip(source, bronze, strict=True)):
            yield from differences(one, other, f"{path}[{number}]")
    elif type(source) is not type(bronze) or source != bronze:
        yield f"{path}: {source!r} at the source, {bronze!r} in bronze"
