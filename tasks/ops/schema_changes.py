"""`ops.schema_changes`, the ledger of drift: fields that appeared, widened, changed type, vanished or were renamed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from psycopg.types.json import Jsonb

from tasks.bronze import names
from tasks.bronze.plan import Change
from tasks.ops import Executor, TableKey

if TYPE_CHECKING:
    import psycopg


@dataclass(frozen=True)
class SchemaChange:
    """One line of the ledger, as read back."""

    key: TableKey
    field: str
    change: str
    old_type: str | None
    new_type: str | None
    batch_id: str
    seen_at: datetime
    action: str
    evidence: dict[str, Any]


def write(cursor: psycopg.Cursor[Any], key: TableKey, batch_id: str, changes: Iterable[Change]) -> None:
    """Add changes."""
    cursor.executemany(
        """
        insert into ops.schema_changes
            (source, table_name, field, change, old_type, new_type, batch_id, action, evidence)
        values (%s, %s, %s, %s, %s, %s, %s, %s, %s)
        """,
        [
            (
                *key,
                names.stored(change.field),
                change.change,
                change.old_type,
                change.new_type,
                batch_id,
                change.action,
                Jsonb(dict(change.evidence)),
            )
            for change in changes
        ],
    )


def count(db: Executor, key: TableKey, batch_id: str) -> int:
    """Return how many changes one batch brought."""
    [[found]] = db.execute(
        "select count(*) from ops.schema_changes where (source, table_name, batch_id) = (%s, %s, %s)", [*key, batch_id]
    ).fetchall()
    return int(found)


def find(db: Executor, tables: Sequence[TableKey] = (), after_batch: str = "") -> list[SchemaChange]:
    """Return the ledger, newest first.

    Args:
        db: Any.
        tables: Only these; none means all.
        after_batch: Only what younger batches brought.
    """
    rows = db.execute(
        """
        select source, table_name, field, change, old_type, new_type, batch_id, seen_at, action, evidence
        from ops.schema_changes
        where (cardinality(%(tables)s::text[]) = 0 or source || '.' || table_name = any(%(tables)s))
          and batch_id > %(after)s
        order by id desc
        """,
        {"tables": [str(key) for key in tables], "after": after_batch},
    ).fetchall()
    return [SchemaChange(TableKey(*row[:2]), *row[2:]) for row in rows]


def of_batches(db: Executor, batch_ids: Sequence[str]) -> list[SchemaChange]:
    """Return what batches changed, by table and field.

    The columns of a table that is loaded for the first time are no change to tell people of.
    """
    rows = db.execute(
        """
        select source, table_name, field, change, old_type, new_type, batch_id, seen_at, action, evidence
        from ops.schema_changes c
        where batch_id = any(%s) and exists (
            select from ops.batches b
            where b.source = c.source and b.table_name = c.table_name and b.batch_id < c.batch_id)
        order by source, table_name, field, id
        """,
        [list(batch_ids)],
    ).fetchall()
    return [SchemaChange(TableKey(*row[:2]), *row[2:]) for row in rows]
