"""`ops.schema_changes`, the ledger of drift: fields that appeared, widened, changed type, vanished or were renamed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from psycopg.types.json import Jsonb

from tasks.ops import Executor, TableKey

if TYPE_CHECKING:
    import psycopg

    from tasks.bronze.plan import FieldChange


@dataclass(frozen=True)
class SchemaChange:
    """One line of the ledger, as read back; open until somebody has resolved it."""

    id: int
    key: TableKey
    field: str
    change: str
    old_type: str | None
    new_type: str | None
    batch_id: str
    seen_at: datetime
    action: str
    evidence: dict[str, Any]
    resolved_at: datetime | None
    resolved_by: str | None
    resolved_why: str | None


class Conflict(NamedTuple):
    """A field with values that do not fit its column, and how many of these some batches brought."""

    key: TableKey
    field: str
    pg_type: str
    kind: str
    values: int


class Dated(NamedTuple):
    """A change, and when the batch that showed it was read."""

    change: SchemaChange
    at: datetime


def write(cursor: psycopg.Cursor[Any], key: TableKey, batch_id: str, changes: Iterable[FieldChange]) -> None:
    """Add changes."""
    # Names bring polars along, which a report does not wait for.
    from tasks.bronze.names import stored

    cursor.executemany(
        """
        insert into ops.schema_changes
            (source, table_name, field, change, old_type, new_type, batch_id, action, evidence)
        values (%s, %s, %s, %s, %s, %s, %s, %s, %s)
        """,
        [
            (
                *key,
                stored(change.field),
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


def news(db: Executor, key: TableKey, changes: Sequence[FieldChange]) -> list[FieldChange]:
    """Return the changes of which no open entry of the table tells already."""
    if not changes:
        return []
    from tasks.bronze.names import stored

    rows = db.execute(
        "select field, change, old_type, new_type from ops.schema_changes"
        " where (source, table_name) = (%s, %s) and resolved_at is null and change = any(%s)",
        [*key, list({one.change for one in changes})],
    ).fetchall()
    told = set(rows)
    return [one for one in changes if (stored(one.field), one.change, one.old_type, one.new_type) not in told]


def has(db: Executor, key: TableKey, batch_id: str, change: str) -> bool:
    """Return whether a change of a kind is noted at a batch, closed or not."""
    [[found]] = db.execute(
        "select exists (select from ops.schema_changes"
        " where (source, table_name, batch_id, change) = (%s, %s, %s, %s))",
        [*key, batch_id, change],
    ).fetchall()
    return bool(found)


def count(db: Executor, key: TableKey, batch_id: str) -> int:
    """Return how many changes one batch brought."""
    [[found]] = db.execute(
        "select count(*) from ops.schema_changes where (source, table_name, batch_id) = (%s, %s, %s)", [*key, batch_id]
    ).fetchall()
    return int(found)


def find(
    db: Executor, tables: Sequence[TableKey] = (), after_batch: str = "", *, resolved: bool = False
) -> list[SchemaChange]:
    """Return the ledger, newest first.

    Args:
        db: Any.
        tables: Only these; none means all.
        after_batch: Only what younger batches brought.
        resolved: Those that are closed, too.
    """
    rows = db.execute(
        """
        select id, source, table_name, field, change, old_type, new_type, batch_id, seen_at, action, evidence,
            resolved_at, resolved_by, resolved_why
        from ops.schema_changes
        where (cardinality(%(tables)s::text[]) = 0 or source || '.' || table_name = any(%(tables)s))
          and batch_id > %(after)s and (%(resolved)s or resolved_at is null)
        order by id desc
        """,
        {"tables": [str(key) for key in tables], "after": after_batch, "resolved": resolved},
    ).fetchall()
    return [SchemaChange(row[0], TableKey(*row[1:3]), *row[3:]) for row in rows]


def resolve(cursor: psycopg.Cursor[Any], ids: Sequence[int], by: str, why: str) -> set[int]:
    """Close open entries; return those that were."""
    rows = cursor.execute(
        "update ops.schema_changes set resolved_at = now(), resolved_by = %s, resolved_why = %s"
        " where id = any(%s) and resolved_at is null returning id",
        [by, why, list(ids)],
    ).fetchall()
    return {number for (number,) in rows}


def of_batches(db: Executor, batch_ids: Sequence[str]) -> list[SchemaChange]:
    """Return what batches changed and nobody has resolved, by table and field.

    That the columns of a table appear with its first load is no change to tell people of; what did not fit them is.
    """
    rows = db.execute(
        """
        select id, source, table_name, field, change, old_type, new_type, batch_id, seen_at, action, evidence,
            resolved_at, resolved_by, resolved_why
        from ops.schema_changes c
        where batch_id = any(%s) and resolved_at is null and (change <> 'appeared' or exists (
            select from ops.batches b
            where b.source = c.source and b.table_name = c.table_name and b.batch_id < c.batch_id))
        order by source, table_name, field, id
        """,
        [list(batch_ids)],
    ).fetchall()
    return [SchemaChange(row[0], TableKey(*row[1:3]), *row[3:]) for row in rows]


def conflicts(db: Executor, batch_ids: Sequence[str]) -> list[Conflict]:
    """Return the fields of which batches have values that are in _rescued, as their open entries tell, most first."""
    rows = db.execute(
        """
        select f.source, f.table_name, told.field, told.old_type, told.new_type, sum(f.rescued)::int8
        from ops.field_statistics f cross join lateral (
            select c.field, c.old_type, c.new_type from ops.schema_changes c
            where (c.source, c.table_name, c.change) = (f.source, f.table_name, 'type_conflict')
              and c.resolved_at is null and c.batch_id <= f.batch_id
              and c.field = case when f.child = '' then f.path else f.child || '[].' || f.path end
            order by c.id desc limit 1
        ) told
        where f.batch_id = any(%s) and f.rescued > 0
        group by 1, 2, 3, 4, 5 order by 6 desc, 1, 2, 3
        """,
        [list(batch_ids)],
    ).fetchall()
    return [Conflict(TableKey(*row[:2]), *row[2:]) for row in rows]


def history(db: Executor, key: TableKey) -> list[Dated]:
    """Return all changes of a table, by batch, oldest first, without the columns of its first load."""
    rows = db.execute(
        """
        select c.id, c.source, c.table_name, c.field, c.change, c.old_type, c.new_type, c.batch_id, c.seen_at, c.action,
            c.evidence, c.resolved_at, c.resolved_by, c.resolved_why, coalesce(read.extracted_at, c.seen_at)
        from ops.schema_changes c left join ops.batches read using (source, table_name, batch_id)
        where (c.source, c.table_name) = (%s, %s)
          and (c.change <> 'appeared' or exists (
            select from ops.batches b
            where b.source = c.source and b.table_name = c.table_name and b.batch_id < c.batch_id))
        order by c.batch_id, c.id
        """,
        [*key],
    ).fetchall()
    return [Dated(SchemaChange(row[0], TableKey(*row[1:3]), *row[3:-1]), row[-1]) for row in rows]
