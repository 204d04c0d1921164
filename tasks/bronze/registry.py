"""The registry in `ops`: which relation holds which table, and which column which path; given once, kept for ever."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import psycopg

from tasks.bronze import ddl, names
from tasks.bronze.plan import Column, Plan

HISTORY = "$history"
"""What stands for a table's history where else the path of a child table stands."""


def name_relations(cursor: psycopg.Cursor[Any], source: str, table_name: str, children: Iterable[str]) -> bool:
    """Give a table's relations their names; return whether one is new.

    Then it is to be committed before rows are copied: all other new tables wait for its lock.
    """
    rows = cursor.execute(
        "select child from ops.tables where (source, table_name) = (%s, %s)", [source, table_name]
    ).fetchall()
    unnamed = set(children) - {row[0] for row in rows}
    for child in sorted(unnamed):
        relation_for(cursor, source, table_name, child)
    return bool(unnamed)


def relation_for(cursor: psycopg.Cursor[Any], source: str, table_name: str, child: str) -> str:
    """Return the relation's name of a table, of one of its arrays or of its history; given once, kept for ever."""
    row = cursor.execute(
        "select relation from ops.tables where (source, table_name, child) = (%s, %s, %s)", [source, table_name, child]
    ).fetchone()
    if row is not None:
        return str(row[0])
    # Two tables that are new at the same time might choose the same name.
    cursor.execute("lock table ops.tables in share row exclusive mode")
    taken = {found[0] for found in cursor.execute("select relation from ops.tables").fetchall()}
    name = names.relation_name(source, table_name, child.removeprefix("$"), taken)
    cursor.execute(
        "insert into ops.tables (source, table_name, child, relation) values (%s, %s, %s, %s)",
        [source, table_name, child, name],
    )
    return name


def relations_of(cursor: psycopg.Cursor[Any], source: str, table_name: str) -> dict[str, str]:
    """Return by child path a table's relations that exist, in the order in which they are locked together."""
    rows = cursor.execute(
        "select child, relation from ops.tables where (source, table_name) = (%s, %s) order by child",
        [source, table_name],
    ).fetchall()
    return {child: relation for child, relation in rows if ddl.exists(cursor, relation)}


def known_columns(
    cursor: psycopg.Cursor[Any], source: str, table_name: str, child: str, batch_id: str = ""
) -> list[Column]:
    """Return the name map of one relation, oldest column first; new are those that the given batch brought.

    Of several columns of one path, the first is the path's own and the others stand beside it.
    """
    rows = cursor.execute(
        """
        select path, column_name, kind, stored, vanished_batch is not null, first_batch = %s from ops.columns
        where (source, table_name, child) = (%s, %s, %s) order by position
        """,
        [batch_id, source, table_name, child],
    ).fetchall()
    return [Column(names.landed(path), *row) for path, *row in rows]


def write_columns(cursor: psycopg.Cursor[Any], source: str, table_name: str, plan: Plan, batch_id: str) -> None:
    """Write new and widened columns into the name map."""
    [[offset]] = cursor.execute(
        "select coalesce(max(position) + 1, 0) from ops.columns where (source, table_name, child) = (%s, %s, %s)",
        [source, table_name, plan.child],
    ).fetchall()
    cursor.executemany(
        """
        insert into ops.columns
            (source, table_name, child, path, column_name, kind, pg_type, stored, first_batch, position)
        values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
        """,
        [
            (
                source,
                table_name,
                plan.child,
                names.stored(c.path),
                c.name,
                c.kind,
                c.pg_type,
                c.stored,
                batch_id,
                offset + number,
            )
            for number, c in enumerate(plan.new)
        ],
    )
    cursor.executemany(
        "update ops.columns set kind = %s, pg_type = %s"
        " where (source, table_name, child, column_name) = (%s, %s, %s, %s)",
        [
            (c.kind, c.pg_type, source, table_name, plan.child, c.name)
            for c in (plan.columns[path] for path in plan.retyped)
        ],
    )
