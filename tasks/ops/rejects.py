"""`ops.rejects`: documents and rows that could not be loaded, whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, LiteralString

from tasks.ops import Executor, TableKey

if TYPE_CHECKING:
    import psycopg

DOCUMENT_IDS: LiteralString = "select document_id from ops.rejects where (source, table_name) = (%(source)s, %(table)s)"
"""The ids of a table's rejected documents, for statements of others."""


@dataclass(frozen=True)
class NewReject:
    """A reject to be written; see `Reject`."""

    stage: str
    document_id: str | None
    path: str | None
    reason: str
    document: str | None
    bytes: bytes | None = None

    @property
    def texts(self) -> tuple[str | None, ...]:
        """All texts, in the order of the columns."""
        return self.document_id, self.path, self.reason, self.document


@dataclass(frozen=True)
class Reject:
    """One rejected document or row.

    Attributes:
        stage: `extract` when it could not be decoded, `load` when Postgres refused it.
        document: Extended JSON, as far as it could be read.
        bytes: The original, where it came as bytes.
        outcome: What the last replay said, if there was one.
    """

    id: int
    source: str
    table_name: str
    batch_id: str
    stage: str
    document_id: str | None
    path: str | None
    reason: str
    document: str | None
    bytes: bytes | None
    seen_at: datetime
    replayed_at: datetime | None
    outcome: str | None


def write(cursor: psycopg.Cursor[Any], key: TableKey, batch_id: str, rejects: Iterable[NewReject]) -> None:
    """Add rejects of a batch."""
    cursor.executemany(
        """
        insert into ops.rejects (source, table_name, batch_id, stage, document_id, path, reason, document, bytes)
        values (%s, %s, %s, %s, %s, %s, %s, %s, %s)
        """,
        [(*key, batch_id, found.stage, *map(_storable, found.texts), found.bytes) for found in rejects],
    )


def find(
    db: Executor,
    tables: Sequence[TableKey] = (),
    *,
    ids: Sequence[int] = (),
    waiting: bool = False,
    limit: int = 1_000,
) -> list[Reject]:
    """Return rejects, newest first.

    Args:
        db: Any.
        tables: Only of these; none means all.
        ids: Only these.
        waiting: Only those that no replay has brought in.
        limit: Most rejects returned.
    """
    rows = db.execute(
        """
        select id, source, table_name, batch_id, stage, document_id, path, reason, document, bytes, seen_at,
            replayed_at, outcome
        from ops.rejects
        where (cardinality(%(tables)s::text[]) = 0 or source || '.' || table_name = any(%(tables)s))
          and (cardinality(%(ids)s::bigint[]) = 0 or id = any(%(ids)s))
          and not (%(waiting)s and coalesce(outcome, '') in ('loaded', 'outdated'))
        order by id desc limit %(limit)s
        """,
        {"tables": [str(key) for key in tables], "ids": list(ids), "waiting": waiting, "limit": limit},
    ).fetchall()
    return [Reject(*row) for row in rows]


def held_back(db: Executor, key: TableKey) -> list[str]:
    """Return the ids of documents that the last loaded batch of a table did not bring, as they were rejected before."""
    rows = db.execute(
        "select distinct document_id from ops.rejects where (source, table_name) = (%(source)s, %(table_name)s)"
        " and stage <> 'load' and document_id is not null and batch_id = (select max(batch_id) from ops.batches"
        " where (source, table_name) = (%(source)s, %(table_name)s))",
        key._asdict(),
    ).fetchall()
    return [row[0] for row in rows]


def ids_of(db: Executor, key: TableKey, batch_id: str) -> list[str | None]:
    """Return the ids of a batch's rejected documents; None stands for one that could not be read."""
    rows = db.execute(
        "select distinct document_id from ops.rejects where (source, table_name, batch_id) = (%s, %s, %s)",
        [*key, batch_id],
    ).fetchall()
    return [row[0] for row in rows]


def count_documents(db: Executor, key: TableKey) -> int:
    """Return how many documents of a table were rejected; one that could not be read counts by itself."""
    [[found]] = db.execute(
        "select count(distinct coalesce(document_id, id::text)) from ops.rejects where (source, table_name) = (%s, %s)",
        [*key],
    ).fetchall()
    return int(found)


def first_of(db: Executor, batch_ids: Sequence[str], most: int) -> list[str]:
    """Return the first rejects of batches as `source.table: id`, with the number of the reject where there is no id."""
    rows = db.execute(
        "select source || '.' || table_name || ': ' || coalesce(document_id, '#' || id) from ops.rejects "
        "where batch_id = any(%s) order by id limit %s",
        [list(batch_ids), most],
    ).fetchall()
    return [row[0] for row in rows]


def refused_files(db: Executor, batch_ids: Sequence[str], most: int) -> list[str]:
    """Return the whole files that were refused in batches, as `source.table: reason`.

    Such a reject has no document and names no line of the file.
    """
    rows = db.execute(
        """
        select source || '.' || table_name || ': ' || reason from ops.rejects
        where stage = 'extract' and batch_id = any(%s) and document_id is null and path is null and bytes is not null
            and reason !~ ', (line|row) [0-9]+'
            and exists (
                select from ops.batches b
                where (b.source, b.table_name, b.batch_id) = (rejects.source, rejects.table_name, rejects.batch_id)
                    and b.mode = 'file'
            )
        order by id limit %s
        """,
        [list(batch_ids), most],
    ).fetchall()
    return [row[0] for row in rows]


def reason(db: Executor, key: TableKey, document_id: str) -> str | None:
    """Return why a document was rejected last, or None when it never was."""
    row = db.execute(
        """
        select reason from ops.rejects where (source, table_name, document_id) = (%s, %s, %s)
        order by id desc limit 1
        """,
        [*key, document_id],
    ).fetchone()
    return None if row is None else str(row[0])


def holds(db: Executor, key: TableKey, batch_id: str, document_id: str) -> bool:
    """Return whether a batch's document is among the rejects."""
    [[found]] = db.execute(
        """
        select exists (
            select from ops.rejects where (source, table_name, batch_id, document_id) = (%s, %s, %s, %s))
        """,
        [*key, batch_id, document_id],
    ).fetchall()
    return bool(found)


def note_outcomes(cursor: psycopg.Cursor[Any], outcomes: Mapping[int, str]) -> None:
    """Note what a replay said, by reject: loaded, outdated or refused."""
    cursor.executemany(
        "update ops.rejects set replayed_at = now(), outcome = %s where id = %s",
        [(outcome, number) for number, outcome in outcomes.items()],
    )


def forget(db: Executor, key: TableKey, batch_ids: Sequence[str], stage: str | None = None) -> None:
    """Remove the rejects of batches, with `stage` only those of it."""
    db.execute(
        """
        delete from ops.rejects
        where (source, table_name) = (%s, %s) and batch_id = any(%s) and (%s::text is null or stage = %s)
        """,
        [*key, list(batch_ids), stage, stage],
    )


def _storable(text: str | None) -> str | None:
    """Return a text as Postgres can hold it."""
    return text and text.replace("\x00", "\\u0000")
