"""`ops.models_built`: up to which moment each table's loads are known to be in the dbt models above it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tasks.ops import Executor, TableKey

if TYPE_CHECKING:
    import psycopg


def write(cursor: psycopg.Cursor[Any], tables: Sequence[TableKey], until: datetime) -> None:
    """Note that the models above tables hold everything that was loaded before `until`."""
    cursor.executemany(
        """
        insert into ops.models_built (source, table_name, built_at) values (%s, %s, %s)
        on conflict (source, table_name) do update set built_at = greatest(models_built.built_at, excluded.built_at)
        """,
        [(*key, until) for key in tables],
    )


def missing(db: Executor, tables: Sequence[str]) -> list[str]:
    """Return those of the tables (`source.table`) with loaded changes that the models do not hold yet."""
    rows = db.execute(
        """
        select distinct b.source || '.' || b.table_name
        from ops.batches b left join ops.models_built m using (source, table_name)
        where (m.built_at is null or b.loaded_at >= m.built_at)
          and (m.built_at is null
               or b.rows_inserted + b.rows_updated + b.rows_deleted + b.child_rows + b.schema_changes > 0)
          and b.source || '.' || b.table_name = any(%s)
        order by 1
        """,
        [list(tables)],
    ).fetchall()
    return [row[0] for row in rows]
