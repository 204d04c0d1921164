"""What a rebuild keeps, as the landing need not hold it any more: rows and versions from before its first batch.

These are deleted rows, rows whose document was rejected since, the child rows of both, and the history's versions. They
are set aside as they are, and are back, in the columns as they are then, before the first batch is loaded: so that they
are rows as any others to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from tasks.bronze import kinds
from tasks.bronze.plan import EXACT, Column, make_plan
from tasks.bronze.postgres import ddl
from tasks.landing import Manifest
from tasks.ops import TableKey, columns, rejects
from tasks.ops.relations import HISTORY, ROOT

_READ_BEFORE = sql.SQL("t._extracted_at < %(base)s and (t._deleted_at is not null or t._id in ({}))").format(
    sql.SQL(rejects.DOCUMENT_IDS)
)


@dataclass(frozen=True)
class Carryover:
    """Rows of one relation that are set aside.

    Attributes:
        relation: Where they are until the transaction ends.
        columns: The columns of the relation as they were.
    """

    relation: str
    columns: list[Column]


def set_aside(
    cursor: psycopg.Cursor[Any], key: TableKey, existing: Mapping[str, str], base: Manifest, *, history: bool
) -> dict[str, Carryover]:
    """Set aside what the batches from `base` on do not bring; return by child where it is, where there is something.

    Args:
        cursor: Of the rebuild's transaction.
        key: The table.
        existing: By child the relations that exist, the table itself first.
        base: The first batch that will be loaded.
        history: Whether loading writes the history; if not, all of it is kept.
    """
    carried: dict[str, Carryover] = {}
    parameters = {"base": base.extracted_at, "source": key.source, "table": key.table_name}
    for child, name in existing.items():
        if child == HISTORY:
            condition: sql.Composable = sql.SQL("t._valid_from < %(base)s" if history else "true")
        elif child and "" not in carried:
            continue
        elif child:
            condition = sql.SQL("t._root_id in (select _id from {})").format(ddl.relation(carried[""].relation))
        else:
            condition = _READ_BEFORE
        # No relation of ours has a blank in its name.
        aside = f"kept {ddl.oid(cursor, name)}"
        cursor.execute(
            sql.SQL("create table {} as select * from {} t where {}").format(
                ddl.relation(aside), ddl.relation(name), condition
            ),
            parameters,
        )
        if cursor.rowcount:
            # A column that a person dropped has no values to keep.
            there = cursor.execute(
                "select attname from pg_attribute where attrelid = %s::regclass",
                [ddl.relation(aside).as_string(cursor)],
            ).fetchall()
            held = [column for column in _columns(cursor, key, child) if (column.name,) in there]
            carried[child] = Carryover(aside, held)
        else:
            cursor.execute(sql.SQL("drop table {}").format(ddl.relation(aside)))
    return carried


def fits(
    cursor: psycopg.Cursor[Any], carried: Mapping[str, Carryover], child: str, columns: Sequence[Column], kind: str
) -> bool:
    """Return whether a column of `kind` holds exactly what is kept of a path.

    Args:
        cursor: Of the rebuild's transaction.
        carried: What is set aside.
        child: The relation; that of the table itself stands for its history, too.
        columns: The path's columns.
        kind: What the path's first column is to be.
    """
    alike = [carried[found] for found in ([child] if child else ["", HISTORY]) if found in carried]
    return all(
        _fits(cursor, names, column, kind)
        for column in columns
        if (names := [found.relation for found in alike if column.name in {other.name for other in found.columns}])
    )


def _fits(cursor: psycopg.Cursor[Any], names: Sequence[str], column: Column, kind: str) -> bool:
    if column.kind == kind:
        return True
    if kinds.wider(column.kind, kind) == kind:
        return not ddl.inexact(cursor, names, column, Column(column.path, column.name, kind))
    filled = sql.SQL(" or ").join(
        sql.SQL("exists (select from {} where {} is not null)").format(ddl.relation(name), sql.Identifier(column.name))
        for name in names
    )
    [[found]] = cursor.execute(sql.SQL("select {}").format(filled)).fetchall()
    return not found


def bring_back(
    cursor: psycopg.Cursor[Any],
    key: TableKey,
    targets: Mapping[str, str],
    carried: Mapping[str, Carryover],
    base: Manifest,
    *,
    history: bool,
) -> None:
    """Put what was set aside into the relations that are filled, by child; they are made where they do not exist."""
    # With versions but no rows loading must not take the table for a new one.
    for child in sorted({"", *carried}) if carried else ():
        make(cursor, key, child, targets[child])
        if child in carried:
            _insert(
                cursor, child, targets[child], carried[child], _columns(cursor, key, child), base if history else None
            )


def make(cursor: psycopg.Cursor[Any], key: TableKey, child: str, name: str) -> None:
    """Make a relation with the columns that it is known to have, unless it exists."""
    if ddl.exists(cursor, name):
        return
    plan = make_plan(ROOT if child == HISTORY else child, _columns(cursor, key, child), [], {})
    if child == HISTORY:
        ddl.create_history(cursor, name, plan)
    else:
        ddl.create_relation(cursor, name, plan)
        ddl.add_keys(cursor, name, child)


def _insert(
    cursor: psycopg.Cursor[Any],
    child: str,
    name: str,
    carried: Carryover,
    columns: Sequence[Column],
    base: Manifest | None,
) -> None:
    own = ROOT if child == HISTORY else child
    pairs: list[tuple[str, sql.Composable]] = [
        (column, sql.Identifier(column)) for column, _ in (*ddl.meta_before(own), *ddl.meta_after(own))
    ]
    if child == HISTORY:
        # A version that was valid when the first batch was read is open for it: loading closes it where it has to.
        until = "case when _valid_to <= {base} then _valid_to end" if base else "_valid_to"
        at = sql.Literal(base.extracted_at) if base else sql.SQL("")
        pairs += [("_valid_from", sql.Identifier("_valid_from")), ("_valid_to", sql.SQL(until).format(base=at))]
    pairs += [(column.name, value) for column in columns if (value := _value(column, columns, carried.columns))]
    cursor.execute(
        sql.SQL("insert into {} ({}) select {} from {}").format(
            ddl.relation(name),
            sql.SQL(", ").join(sql.Identifier(column) for column, _ in pairs),
            sql.SQL(", ").join(value for _, value in pairs),
            ddl.relation(carried.relation),
        )
    )


def _value(column: Column, columns: Sequence[Column], before: Sequence[Column]) -> sql.Composable | None:
    """Return the expression that gives a column its kept values: its own, and of columns of its path that are gone."""
    names = {other.name for other in columns}
    first = next(other.name for other in columns if other.path == column.path)
    sources = [
        old
        for old in before
        if old.name == column.name or (old.path == column.path and column.name == first and old.name not in names)
    ]
    if not sources:
        return None
    return sql.SQL("coalesce({})").format(sql.SQL(", ").join(_cast(old, column) for old in sources))


def _cast(old: Column, new: Column) -> sql.Composable:
    if old.pg_type == new.pg_type:
        return sql.Identifier(old.name)
    if kinds.wider(old.kind, new.kind) != new.kind:
        # `fits` allowed the type as nothing but nulls is kept; of many types there is not even a cast for those.
        return sql.SQL(f"null::{new.pg_type}")
    return sql.SQL(f"({EXACT.get(old.pg_type, '{}')})::{new.pg_type}").format(sql.Identifier(old.name))


def join_versions(cursor: psycopg.Cursor[Any], name: str, base: Manifest) -> None:
    """Make one version of two that the first batch split although the document had not changed."""
    cursor.execute(
        sql.SQL(
            """
            with earlier as (
                delete from {history} o using {history} n
                where n._valid_from = %(base)s and o._valid_to = %(base)s and o._valid_from < %(base)s
                  and o._id = n._id and o._hash = n._hash
                returning o._id, o._valid_from
            )
            update {history} n set _valid_from = e._valid_from from earlier e
            where n._id = e._id and n._valid_from = %(base)s
            """
        ).format(history=ddl.relation(name)),
        {"base": base.extracted_at},
    )


def drop(cursor: psycopg.Cursor[Any], carried: Mapping[str, Carryover]) -> None:
    """Drop the relations in which rows were set aside."""
    for found in carried.values():
        cursor.execute(sql.SQL("drop table {}").format(ddl.relation(found.relation)))


def _columns(cursor: psycopg.Cursor[Any], key: TableKey, child: str) -> list[Column]:
    return [column for column in columns.of_relation(cursor, key, child) if column.stored]
