"""`ops.models_built`: up to which moment each table's loads are known to be in the dbt models above it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tasks.ops import TableKey

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
