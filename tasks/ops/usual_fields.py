"""`ops.usual_fields`: what is usual for the fields of each relation, against which each batch is held."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from psycopg.types.json import Jsonb

from tasks.bronze import names
from tasks.ops import Executor, TableKey


def read(db: Executor, key: TableKey, child: str) -> dict[str, dict[str, Any]]:
    """Return by path what is usual; nothing before the first batch."""
    row = db.execute(
        "select fields from ops.usual_fields where (source, table_name, child) = (%s, %s, %s)", [*key, child]
    ).fetchone()
    return {names.landed(path): usual for path, usual in row[0].items()} if row else {}


def write(db: Executor, key: TableKey, child: str, batch_id: str, fields: Mapping[str, Mapping[str, Any]]) -> None:
    """Put what is usual after a batch in the place of what was before."""
    db.execute(
        """
        insert into ops.usual_fields (source, table_name, child, batch_id, fields) values (%s, %s, %s, %s, %s)
        on conflict (source, table_name, child) do update set batch_id = excluded.batch_id, fields = excluded.fields
        """,
        [*key, child, batch_id, Jsonb({names.stored(path): dict(usual) for path, usual in fields.items()})],
    )
