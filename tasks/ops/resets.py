"""`ops.resets`: every reset of a table, who asked for it and why, and the one that waits for its read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from tasks.ops import Executor, TableKey


@dataclass(frozen=True)
class Reset:
    """A reset that waits for a read from where it set the checkpoint.

    Attributes:
        since: The time from which the table is read again, as it was asked for; None means everything.
        replaces: Whether a read from the beginning takes the place of what is in bronze; if not, it is merged.
        after_batch: The newest batch of the table when it began; later ones may be its read.
        asked_by: Who asked for it.
        why: Their reason.
    """

    id: int
    since: str | None
    replaces: bool
    after_batch: str
    asked_by: str
    why: str
    started_at: datetime

    def is_answered_by(self, batch_id: str, previous_checkpoint: Mapping[str, Any]) -> bool:
        """Return whether a batch is the read that it waits for."""
        return batch_id > self.after_batch and not (self.replaces and previous_checkpoint)


def find(db: Executor, key: TableKey) -> Reset | None:
    """Return the reset of a table that waits for its read, if there is one."""
    row = db.execute(
        """
        select id, since, replaces, after_batch, asked_by, why, started_at from ops.resets
        where (source, table_name) = (%s, %s) and ended_at is null
        """,
        [*key],
    ).fetchone()
    return None if row is None else Reset(*row)


def begin(
    db: Executor,
    key: TableKey,
    *,
    since: str | None,
    state: Mapping[str, Any],
    replaces: bool,
    after_batch: str,
    asked_by: str,
    why: str,
) -> None:
    """Note a reset, which takes the place of one that still waits; see `Reset`."""
    end(db, key, None)
    db.execute(
        """
        insert into ops.resets (source, table_name, since, state, replaces, after_batch, asked_by, why)
        values (%s, %s, %s, %s, %s, %s, %s, %s)
        """,
        [*key, since, Jsonb(dict(state)), replaces, after_batch, asked_by, why],
    )


def end(db: Executor, key: TableKey, batch_id: str | None) -> None:
    """Note the batch that answered the reset of a table that waits; None where another takes its place."""
    db.execute(
        "update ops.resets set ended_at = now(), batch_id = %s"
        " where (source, table_name) = (%s, %s) and ended_at is null",
        [batch_id, *key],
    )


def is_answered(db: Executor, key: TableKey) -> bool:
    """Return whether the last reset of a table got its read, and neither waits for it nor gave way to another wish."""
    row = db.execute(
        "select batch_id is not null from ops.resets where (source, table_name) = (%s, %s) order by id desc limit 1",
        [*key],
    ).fetchone()
    return row is not None and bool(row[0])


def last_replacing(db: Executor, key: TableKey) -> str | None:
    """Return the last batch that took the place of all rows of a table."""
    row = db.execute(
        "select max(batch_id) from ops.resets where (source, table_name) = (%s, %s) and replaces", [*key]
    ).fetchone()
    return row[0] if row else None


def replaced_at(db: Executor) -> dict[str, datetime]:
    """Return by table (`source.table`) when a batch last took the place of all of its rows."""
    rows = db.execute(
        """
        select r.source || '.' || r.table_name, max(b.loaded_at) from ops.resets r
        join ops.batches b using (source, table_name, batch_id) where r.replaces group by 1
        """
    ).fetchall()
    return {name: at for name, at in rows}
