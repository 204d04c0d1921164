"""Moving rescued values into their columns after a widening or a change of rules, without reading the source.

A value moves when its column, or one beside it, tells it exactly and holds nothing for the row; any other stays where
it is. Loading's own conversion decides, so that a moved value is what loading would have written.
"""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl
import psycopg
from psycopg import sql

from tasks import database
from tasks.bronze import names
from tasks.bronze.convert import convert
from tasks.bronze.load import stamp, take_lock
from tasks.bronze.plan import FieldChange, RelationPlan, make_plan
from tasks.bronze.postgres import ddl, merge, stage
from tasks.landing.kinds import KINDS, quote
from tasks.ops import batches, columns, migrations, relations, schema_changes
from tasks.ops.relations import HISTORY, ROOT
from tasks.settings import Settings
from tasks.sources import TableRef

# Rows that are looked at together; bounds memory.
_ROWS = 5_000
_STAGE = "warehouse_rescue"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NOT_FINITE = {"NaN", "Infinity", "-Infinity", "-0.0"}


@dataclass
class Moved:
    """What was moved.

    Attributes:
        moved: By field how many values are in their column now, child tables and the history included.
        left: By field how many values stay in `_rescued`, as no column tells them exactly.
        added: Fields that have a column now, as `on_drift` allows it.
    """

    moved: Counter[str] = field(default_factory=Counter)
    left: Counter[str] = field(default_factory=Counter)
    added: list[str] = field(default_factory=list)


def move_rescued(ref: TableRef, settings: Settings) -> Moved:
    """Move a table's rescued values into their columns, all in one transaction; once done there is nothing to do.

    Where `on_drift.new` is `add`, fields that had to do without a column get one first, in a transaction of its own.

    Raises:
        WarehouseUnreachable: Postgres cannot be reached.
        LoadError: A load of the table is running, or a relation stayed locked.
    """
    result = Moved()
    connected = database.connect(settings.database_url(), application="warehouse rescue")
    with connected as connection, database.named_errors(ref.name):
        migrations.migrate(connection)
        connection.commit()
        with connection.transaction(), connection.cursor() as cursor:
            take_lock(cursor, *ref.key)
            result.added = _add_columns(cursor, ref)
        with connection.transaction(), connection.cursor() as cursor:
            take_lock(cursor, *ref.key)
            for child, name in _relations(cursor, ref).items():
                _Move(cursor, ref, child, name, result).run()
    return result


def _relations(cursor: psycopg.Cursor[Any], ref: TableRef) -> dict[str, str]:
    return ddl.existing(cursor, relations.of_table(cursor, ref.key))


def _add_columns(cursor: psycopg.Cursor[Any], ref: TableRef) -> list[str]:
    """Give columns to the fields that are known and have none; return the fields."""
    existing, changes = _relations(cursor, ref), []
    for child in existing:
        if child == HISTORY:
            continue
        known = columns.of_relation(cursor, ref.key, child)
        plan = RelationPlan(child, {})
        room = plan.capabilities.most_columns - sum(column.stored for column in known)
        named = {column.path: f"{child}.{column.path}" if child else column.path for column in known}
        waiting = [c for c in known if not c.stored and ref.table.on_drift.of("new", named[c.path]) == "add"]
        new = waiting[: max(room, 0)]
        if not new:
            continue
        alike = [existing[child], *([existing[HISTORY]] if child == ROOT and HISTORY in existing else [])]
        ddl.change_columns(cursor, alike, new)
        columns.store(cursor, ref.key, child, new)
        changes += [
            FieldChange(
                plan.field_name(c.path), "appeared", f"column {c.name} added for rescued values", None, c.pg_type
            )
            for c in new
        ]
    if changes:
        schema_changes.write(cursor, ref.key, batches.ids(cursor, ref.key)[-1], changes)
    return [change.field for change in changes]


class _Move:
    """The move within one relation."""

    def __init__(self, cursor: psycopg.Cursor[Any], ref: TableRef, child: str, name: str, result: Moved) -> None:
        self._cursor, self._child, self._name, self._result = cursor, child, name, result
        self._keys = ("_id", "_valid_from") if child == HISTORY else ("_id",)
        known = [column for column in columns.of_relation(cursor, ref.key, child) if column.stored]
        self._plan = make_plan(ROOT if child == HISTORY else child, known, [], {})
        self._loaded_at = stamp(cursor, "", _EPOCH).loaded_at

    def run(self) -> None:
        """Move what can be moved."""
        rescued = self._cursor.execute(
            sql.SQL("select distinct jsonb_object_keys(_rescued) from {} where _rescued is not null").format(
                ddl.relation(self._name)
            )
        ).fetchall()
        paths = [path for path in self._plan.columns if (names.stored(path),) in rescued]
        if not paths:
            return
        merge.create_stage(self._cursor, _STAGE, self._types(paths))
        with self._cursor.connection.cursor(name="warehouse_rescue") as reader:
            reader.execute(self._query(paths))
            while rows := reader.fetchmany(_ROWS):
                self._careful(rows, paths)
        self._cursor.execute(sql.SQL("drop table {}").format(sql.Identifier(_STAGE)))

    def _held(self, path: str) -> sql.Composed:
        return sql.SQL(", ").join(sql.Identifier(column.name) for column in self._plan.of(path))

    def _types(self, paths: Sequence[str]) -> list[tuple[str, str]]:
        held = [(column.name, column.pg_type) for path in paths for column in self._plan.of(path)]
        keys = [(key, "text" if key == "_id" else "timestamp with time zone") for key in self._keys]
        return [("_seq", "bigint"), *keys, *held, ("_rescued", "jsonb")]

    def _query(self, paths: Sequence[str]) -> sql.Composed:
        """Return the query of keys, rescued values, and for each path whether a column of it is filled."""
        filled = [sql.SQL("num_nonnulls({}) > 0").format(self._held(path)) for path in paths]
        return sql.SQL("select {}, _rescued::text, array[{}] from {} where _rescued ?| {}").format(
            sql.SQL(", ").join(map(sql.Identifier, self._keys)),
            sql.SQL(", ").join(filled),
            ddl.relation(self._name),
            sql.Literal([names.stored(path) for path in paths]),
        )

    def _careful(self, rows: Sequence[tuple[Any, ...]], paths: Sequence[str]) -> None:
        """Move what can be moved of some rows; a row that no page could hold then stays as it is."""
        waiting = [rows]
        while waiting:
            part = waiting.pop()
            try:
                with self._cursor.connection.transaction():
                    moved = self._chunk(part, paths)
            except psycopg.errors.ProgramLimitExceeded:
                half = len(part) // 2
                waiting += [part[half:], part[:half]] if half else []
                continue
            self._result.moved.update(moved)
            self._result.left.subtract(moved)
        for *_, text, filled in rows:
            kept = json.loads(text)
            found = zip(paths, filled, strict=True)
            self._result.left.update(
                self._told(p) for p, is_filled in found if names.stored(p) in kept and not is_filled
            )

    def _told(self, path: str) -> str:
        return self._plan.field_name(path)

    def _chunk(self, rows: Sequence[tuple[Any, ...]], paths: Sequence[str]) -> dict[str, int]:
        """Move what can be moved of some rows; return by field how many values that were."""
        landed, leftover = _Landed(len(rows)), []
        for number, (*_, text, filled) in enumerate(rows):
            kept = json.loads(text, parse_int=_Number, parse_float=_Number)
            for path, is_filled in zip(paths, filled, strict=True):
                key = names.stored(path)
                if key in kept and not is_filled and landed.take(number, path, kept[key], self._plan):
                    del kept[key]
            leftover.append(_dump(kept) if kept else None)
        meta = {key: [row[index] for row in rows] for index, key in enumerate(self._keys)}
        frame = pl.DataFrame({**meta, "_rescued": pl.Series(leftover, dtype=pl.String), **landed.columns()})
        converted = convert(frame, self._plan).frame.with_row_index("_seq").cast({"_seq": pl.Int64})
        types = self._types(paths)
        chosen = converted.select(name for name, _ in types)
        target = sql.Identifier(_STAGE)
        # What Postgres refuses stays as it is.
        stage.copy_careful(self._cursor, target, chosen, types, self._plan)
        moved = self._update(paths)
        self._cursor.execute(sql.SQL("truncate {}").format(target))
        return moved

    def _update(self, paths: Sequence[str]) -> dict[str, int]:
        held = [column for path in paths for column in self._plan.of(path)]
        sets = [sql.SQL("{0} = coalesce(s.{0}, t.{0})").format(sql.Identifier(column.name)) for column in held]
        same = [sql.SQL("t.{0} = s.{0}").format(sql.Identifier(key)) for key in self._keys]
        found = [sql.SQL("s.{} is not null").format(sql.Identifier(column.name)) for column in held]
        counts = [sql.SQL("count(*) filter (where num_nonnulls({}) > 0)").format(self._held(path)) for path in paths]
        row = self._cursor.execute(
            sql.SQL("select {} from {}").format(sql.SQL(", ").join(counts), sql.Identifier(_STAGE))
        ).fetchone()
        self._cursor.execute(
            sql.SQL(
                "update {target} t set {sets}, _rescued = s._rescued, _loaded_at = {now}"
                " from {stage} s where {same} and ({found})"
            ).format(
                target=ddl.relation(self._name),
                sets=sql.SQL(", ").join(sets),
                now=sql.Literal(self._loaded_at),
                stage=sql.Identifier(_STAGE),
                same=sql.SQL(" and ").join(same),
                found=sql.SQL(" or ").join(found),
            )
        )
        return {self._told(path): count for path, count in zip(paths, row or (), strict=True)}


class _Landed:
    """Rescued values as landed columns."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._values: dict[tuple[str, str], dict[int, Any]] = {}

    def take(self, row: int, path: str, value: Any, plan: RelationPlan) -> bool:
        """Take a value where a column of its path may hold it; return whether it was taken."""
        read = _read(value)
        if read is None or not plan.taking(path, read[0]):
            return False
        kind, plain = read
        self._values.setdefault((path, kind), {})[row] = plain
        return True

    def columns(self) -> dict[str, pl.Series]:
        """Return the columns, by `path|kind`."""
        found = {}
        for (path, kind), values in self._values.items():
            dtype = KINDS[kind].dtype
            # Python has no date as far as some are: times come as numbers.
            plain = pl.Int64() if kind in ("date", "micros") else pl.Int32() if kind == "day" else dtype
            series = pl.Series([values.get(row) for row in range(self._rows)], dtype=plain)
            found[f"{path}|{kind}"] = series.cast(dtype)
        return found


class _Number(str):
    """A number of a JSON text, as it is written."""


def _read(value: Any) -> tuple[str, Any] | None:
    """Return kind and value of a rescued value, as `plain` gives it; None where it can be in no column."""
    if isinstance(value, _Number):
        return _read_number(value)
    if isinstance(value, bool):
        return "bool", value
    if isinstance(value, str):
        return "string", value
    if isinstance(value, dict) and len(value) == 1:
        [(key, inner)] = value.items()
        if key in _EXTENDED:
            try:
                return _EXTENDED[key](inner)
            except (ArithmeticError, KeyError, TypeError, ValueError):
                return None
    return None if value is None else ("json", _dump(value))


def _read_number(text: _Number) -> tuple[str, Any] | None:
    whole = "." not in text and "e" not in text.lower()
    if whole and -(2**63) <= int(text) < 2**63:
        return "int", int(text)
    near = float(text)
    return ("double", near) if Decimal(repr(near)) == Decimal(text) else None


def _read_double(text: str) -> tuple[str, Any] | None:
    return ("double", float(text)) if text in _NOT_FINITE else None


def _read_date(value: Any) -> tuple[str, Any]:
    if isinstance(value, dict):
        return "date", int(value["$numberLong"])
    return "date", (datetime.fromisoformat(value) - _EPOCH) // timedelta(milliseconds=1)


def _read_binary(value: Any) -> tuple[str, Any] | None:
    return ("binary", base64.b64decode(value["base64"])) if value["subType"] == "00" else None


def _read_day(value: Any) -> tuple[str, Any]:
    return "day", int(value) if isinstance(value, _Number) else (date.fromisoformat(value) - _EPOCH.date()).days


def _read_text(value: Any) -> tuple[str, Any]:
    return "string", base64.b64decode(value["base64"]).decode()


def _read_json(value: Any) -> tuple[str, Any]:
    return "json", base64.b64decode(value["base64"]).decode()


_EXTENDED: dict[str, Callable[[Any], tuple[str, Any] | None]] = {
    "$numberDecimal": lambda text: ("decimal", text),
    "$numberDouble": _read_double,
    "$date": _read_date,
    "$oid": lambda text: ("objectid", text),
    "$uuid": lambda text: ("uuid", text),
    "$binary": _read_binary,
    "$day": _read_day,
    "$text": _read_text,
    "$json": _read_json,
    "$micros": lambda number: ("micros", int(number)),
}


def _dump(value: Any) -> str:
    """Return JSON in which numbers are written as they were."""
    if isinstance(value, _Number):
        return value
    if isinstance(value, dict):
        return "{" + ",".join(f"{quote(key)}:{_dump(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_dump, value)) + "]"
    return json.dumps(value, ensure_ascii=False)
