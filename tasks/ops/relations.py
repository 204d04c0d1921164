"""`ops.tables`: which relation of bronze holds which table, array or history; named once and for ever."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from tasks.bronze import names
from tasks.ops import Executor, TableKey

ROOT = ""
"""Stands for the table itself where else the path of a child table stands."""
HISTORY = "$history"
"""Stands for a table's history where else the path of a child table stands."""


def of_table(db: Executor, key: TableKey) -> dict[str, str]:
    """Return by child path the relations of a table that have a name, in the order in which they are locked."""
    rows = db.execute(
        "select child, relation from ops.tables where (source, table_name) = (%s, %s) order by child", [*key]
    ).fetchall()
    return {child: relation for child, relation in rows}


class Relation(NamedTuple):
    """What a relation of bronze holds; see `ROOT` and `HISTORY` for `child`."""

    key: TableKey
    child: str
    name: str


def every(db: Executor) -> list[Relation]:
    """Return all relations of bronze, by name."""
    rows = db.execute("select source, table_name, child, relation from ops.tables order by relation").fetchall()
    return [Relation(TableKey(*row[:2]), *row[2:]) for row in rows]


def named(db: Executor, source: str, name: str) -> tuple[TableKey, str, str] | None:
    """Return table, child path and relation of what people call `source.name`: a table, or `orders__items`."""
    row = db.execute(
        "select table_name, child, relation from ops.tables"
        " where source = %s and substr(relation, length(source) + 3) = %s",
        [source, name],
    ).fetchone()
    return (TableKey(source, row[0]), row[1], row[2]) if row else None


def add(db: Executor, key: TableKey, children: Collection[str]) -> bool:
    """Give names to those of a table's relations that have none; return whether there was one.

    Then the caller should commit soon: until it does, all other new tables wait for its lock.
    """
    unnamed = set(children) - of_table(db, key).keys()
    if not unnamed:
        return False
    # Two tables that are new at the same time might choose the same name.
    db.execute("lock table ops.tables in share row exclusive mode")
    taken = {row[0] for row in db.execute("select relation from ops.tables").fetchall()}
    for child in sorted(unnamed - of_table(db, key).keys()):
        name = names.relation_name(*key, child.removeprefix("$"), taken)
        taken.add(name)
        db.execute(
            "insert into ops.tables (source, table_name, child, relation) values (%s, %s, %s, %s)", [*key, child, name]
        )
    return True
