"""The ledger of schema changes: what appeared, widened, conflicted, vanished or was probably renamed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from tasks.bronze import names
from tasks.bronze.plan import Change


@dataclass(frozen=True)
class Entry:
    """One line of the ledger as read back."""

    source: str
    table_name: str
    field: str
    change: str
    old_type: str | None
    new_type: str | None
    batch_id: str
    seen_at: datetime
    action: str
    evidence: dict[str, Any]


def record(cursor: psycopg.Cursor[Any], source: str, table_name: str, batch_id: str, changes: Sequence[Change]) -> None:
    """Write changes into the ledger, inside the load's transaction."""
    cursor.executemany(
        """
        insert into ops.schema_changes
            (source, table_name, field, change, old_type, new_type, batch_id, action, evidence)
        values (%s, %s, %s, %s, %s, %s, %s, %s, %s)
        """,
        [
            (
                source,
                table_name,
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


def count(cursor: psycopg.Cursor[Any], source: str, table_name: str, batch_id: str) -> int:
    """Return how many changes of one batch the ledger holds."""
    row = cursor.execute(
        "select count(*) from ops.schema_changes where (source, table_name, batch_id) = (%s, %s, %s)",
        [source, table_name, batch_id],
    ).fetchone()
    return int(row[0]) if row else 0


def entries(
    connection: psycopg.Connection[Any],
    source: str | None = None,
    table_name: str | None = None,
    *,
    since: datetime | None = None,
    changes: Iterable[str] = (),
) -> list[Entry]:
    """Return the ledger, newest first.

    Args:
        connection: Any.
        source: Only this source.
        table_name: Only this table.
        since: Only what was seen from then on.
        changes: Only these kinds of change.
    """
    rows = connection.execute(
        """
        select source, table_name, field, change, old_type, new_type, batch_id, seen_at, action, evidence
        from ops.schema_changes
        where (%(source)s::text is null or source = %(source)s)
          and (%(table)s::text is null or table_name = %(table)s)
          and (%(since)s::timestamptz is null or seen_at >= %(since)s)
          and (cardinality(%(changes)s::text[]) = 0 or change = any(%(changes)s))
        order by id desc
        """,
        {"source": source, "table": table_name, "since": since, "changes": list(changes)},
    ).fetchall()
    return [Entry(*row) for row in rows]
