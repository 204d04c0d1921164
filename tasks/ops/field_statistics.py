"""`ops.field_statistics`: how often each field was present, null and empty in each batch, and as which BSON types."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, LiteralString, NamedTuple

from psycopg.types.json import Jsonb

from tasks.bronze import names
from tasks.ops import Executor, TableKey

if TYPE_CHECKING:
    import psycopg

DAILY_NULL_RATE: LiteralString = (
    "select (extracted_at at time zone 'UTC')::date as day, source, table_name, '' as platform, '' as account, "
    "path as field, 1 - sum(present - null_count)::float8 / sum(row_count) as value from ops.field_statistics "
    "where child = '' and not types ? 'dropped' and extracted_at >= %(since)s "
    "group by 1, 2, 3, path having sum(row_count) >= 20"
)
"""Query of the share of rows without a value, by day and field of each table, as monitoring.measures has it."""


@dataclass(frozen=True)
class FieldStatistics:
    """What one batch showed of one field.

    Attributes:
        rescued: Values that are in `_rescued` alone.
        sanitised: Values that their column holds in another form.
    """

    path: str
    present: int
    null_count: int
    empty_count: int
    types: Mapping[str, int]
    rescued: int = 0
    sanitised: int = 0


class Presence(NamedTuple):
    """How often a field was there.

    Attributes:
        rate: Its share of the rows up to the last batch that had it, 0 to 1.
        rows_since: Rows that came since, none of which has it.
    """

    rate: float
    rows_since: int


class Seen(NamedTuple):
    """What some batches showed of a field: of so many rows so many had it, and so many values fit no column."""

    rows: int
    present: int
    rescued: int


def write(
    cursor: psycopg.Cursor[Any],
    key: TableKey,
    batch_id: str,
    child: str,
    rows: int,
    extracted_at: datetime,
    fields: Iterable[FieldStatistics],
) -> None:
    """Add a batch's statistics of the fields of one relation; `rows` is how many rows extract counted."""
    with cursor.copy(
        "copy ops.field_statistics (source, table_name, child, path, batch_id, row_count, present, null_count,"
        " empty_count, types, extracted_at, rescued, sanitised) from stdin"
    ) as copy:
        for field in fields:
            values = (field.present, field.null_count, field.empty_count, Jsonb(field.types), extracted_at)
            copy.write_row(
                (*key, child, names.stored(field.path), batch_id, rows, *values, field.rescued, field.sanitised)
            )


def presence(db: Executor, key: TableKey, child: str, batch_id: str, batches: int) -> dict[str, Presence]:
    """Return by path how often fields were present in the last batches but one.

    A field that is younger than these is not held to be rare for the rows before it. The row that showed it first is
    left out with them, as else a rare field would look like one that all have.

    Args:
        db: Any.
        key: The table.
        child: The relation.
        batch_id: The batch that does not count.
        batches: How many batches count.
    """
    rows = db.execute(
        """
        with recent as (
            select batch_id, max(row_count) as row_count from ops.field_statistics
            where (source, table_name, child) = (%(source)s, %(table)s, %(child)s) and batch_id <> %(batch)s
            group by batch_id order by batch_id desc limit %(limit)s
        ), seen as (
            select f.path, sum(f.present) as present, min(batch_id) as first, max(batch_id) as last
            from ops.field_statistics f join recent using (batch_id)
            where (f.source, f.table_name, f.child) = (%(source)s, %(table)s, %(child)s) and f.present > 0
            group by f.path
        )
        select path,
               greatest(
                   present::float8 / nullif(sum(row_count) filter (where batch_id <= last), 0)::float8,
                   (present - 1)::float8
                       / nullif(sum(row_count) filter (where batch_id between first and last) - 1, 0)::float8
               ),
               coalesce(sum(row_count) filter (where batch_id > last), 0)::int8
        from seen cross join recent group by path, present, first, last
        """,
        {"source": key.source, "table": key.table_name, "child": child, "batch": batch_id, "limit": batches},
    ).fetchall()
    return {names.landed(path): Presence(min(rate or 0.0, 1.0), since) for path, rate, since in rows}


def since(db: Executor, key: TableKey, child: str, path: str, batch_id: str) -> Seen:
    """Return what a batch and those after it showed of a field, as far as their statistics are kept."""
    [row] = db.execute(
        """
        select coalesce(sum(row_count), 0)::int8, coalesce(sum(present), 0)::int8, coalesce(sum(rescued), 0)::int8
        from (
            select max(row_count) as row_count, max(present) filter (where path = %(path)s) as present,
                max(rescued) filter (where path = %(path)s) as rescued
            from ops.field_statistics
            where (source, table_name, child) = (%(source)s, %(table)s, %(child)s) and batch_id >= %(batch)s
            group by batch_id
        ) batches
        """,
        {"source": key.source, "table": key.table_name, "child": child, "path": names.stored(path), "batch": batch_id},
    ).fetchall()
    return Seen(*row)


def paths(db: Executor, key: TableKey) -> set[tuple[str, str]]:
    """Return (child, path) of every field that a document had, those included that a transform drops."""
    rows = db.execute(
        "select distinct child, path from ops.field_statistics"
        " where (source, table_name) = (%s, %s) and (present > 0 or types ? 'dropped')",
        [*key],
    ).fetchall()
    return {(child, names.landed(path)) for child, path in rows}


def forget(db: Executor, key: TableKey, batch_ids: Sequence[str]) -> None:
    """Remove the statistics of batches."""
    db.execute(
        "delete from ops.field_statistics where (source, table_name) = (%s, %s) and batch_id = any(%s)",
        [*key, list(batch_ids)],
    )


def keep_newest(db: Executor, key: TableKey, batches: int) -> None:
    """Remove the statistics of all batches of a table but the newest."""
    db.execute(
        """
        delete from ops.field_statistics f
        where (source, table_name) = (%(source)s, %(table)s) and batch_id < (
            select batch_id from ops.batches where (source, table_name) = (%(source)s, %(table)s)
            order by batch_id desc offset %(keep)s limit 1)
        """,
        {"source": key.source, "table": key.table_name, "keep": batches},
    )
