"""`ops.columns`: the column of each document path, named once and kept for ever.

Of several columns of one path, the first by position is the path's own; the others take what those before them cannot.
A path that is not stored has no column: its values are in `_rescued`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from tasks.bronze import names
from tasks.bronze.plan import Column
from tasks.ops import Executor, TableKey, relations

if TYPE_CHECKING:
    import psycopg


def of_relation(db: Executor, key: TableKey, child: str, batch_id: str = "") -> list[Column]:
    """Return the columns of one relation, oldest first; new are those that the given batch brought.

    The history has the columns of its table.
    """
    rows = db.execute(
        """
        select path, column_name, kind, stored, vanished_batch is not null, first_batch = %s from ops.columns
        where (source, table_name, child) = (%s, %s, %s) order by position
        """,
        [batch_id, *key, _with_columns(child)],
    ).fetchall()
    return [Column(names.landed(path), *row) for path, *row in rows]


def paths(db: Executor, key: TableKey) -> set[tuple[str, str]]:
    """Return (child, path) of every field that has, or had, a place in bronze."""
    rows = db.execute("select child, path from ops.columns where (source, table_name) = (%s, %s)", [*key]).fetchall()
    return {(child, names.landed(path)) for child, path in rows}


def add(cursor: psycopg.Cursor[Any], key: TableKey, child: str, columns: Sequence[Column], batch_id: str) -> None:
    """Add the columns that a batch brought."""
    if not columns:
        return
    [[offset]] = cursor.execute(
        "select coalesce(max(position) + 1, 0) from ops.columns where (source, table_name, child) = (%s, %s, %s)",
        [*key, child],
    ).fetchall()
    cursor.executemany(
        """
        insert into ops.columns
            (source, table_name, child, path, column_name, kind, pg_type, stored, first_batch, position)
        values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
        """,
        [
            (*key, child, names.stored(c.path), c.name, c.kind, c.pg_type, c.stored, batch_id, number)
            for number, c in enumerate(columns, offset)
        ],
    )


def retype(cursor: psycopg.Cursor[Any], key: TableKey, child: str, columns: Iterable[Column]) -> None:
    """Write the kinds that columns have now."""
    cursor.executemany(
        "update ops.columns set kind = %s, pg_type = %s"
        " where (source, table_name, child, column_name) = (%s, %s, %s, %s)",
        [(column.kind, column.pg_type, *key, child, column.name) for column in columns],
    )


def store(db: Executor, key: TableKey, child: str, columns: Iterable[Column]) -> None:
    """Note that columns exist in their relation now."""
    db.execute(
        "update ops.columns set stored = true"
        " where (source, table_name, child) = (%s, %s, %s) and column_name = any(%s)",
        [*key, child, [column.name for column in columns]],
    )


def remove(db: Executor, key: TableKey, child: str, column_names: Collection[str]) -> None:
    """Forget columns that no longer exist."""
    db.execute(
        "delete from ops.columns where (source, table_name, child) = (%s, %s, %s) and column_name = any(%s)",
        [*key, child, list(column_names)],
    )


def mark_vanished(db: Executor, key: TableKey, child: str, path: str, batch_id: str | None) -> None:
    """Note since which batch no document carries a field; None that it is there again."""
    db.execute(
        "update ops.columns set vanished_batch = %s where (source, table_name, child, path) = (%s, %s, %s, %s)",
        [batch_id, *key, child, names.stored(path)],
    )


def forget_vanished(db: Executor, key: TableKey) -> None:
    """Take every field of a table as there, until batches say otherwise."""
    db.execute("update ops.columns set vanished_batch = null where (source, table_name) = (%s, %s)", [*key])


def _with_columns(child: str) -> str:
    return relations.ROOT if child == relations.HISTORY else child
