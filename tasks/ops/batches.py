"""`ops.batches`: every batch that was loaded. A batch in here is never loaded again."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, LiteralString, NamedTuple

from psycopg import sql
from psycopg.types.json import Jsonb

from tasks.ops import Executor, TableKey

SOURCES: LiteralString = "select distinct source from monitoring.loads order by 1"
"""Query of the sources of which something was loaded."""
TABLES: LiteralString = (
    "select distinct table_name from monitoring.loads where source = coalesce(%(source)s, source) order by 1"
)
"""Query of the tables of which something was loaded, of one source or of all."""
DAILY_DELAY: LiteralString = (
    "select (loaded_at at time zone 'UTC')::date as day, source, table_name, '' as platform, '' as account, "
    "'' as field, max(extract(epoch from loaded_at - extracted_at)) as value from ops.batches "
    "where loaded_at >= %(since)s group by 1, 2, 3"
)
"""Query of the longest time from the source to bronze, in seconds, by day and table, as monitoring.measures has it."""


@dataclass
class Counts:
    """What loading a batch did; the names are those of the columns."""

    rows_inserted: int = 0
    rows_updated: int = 0
    rows_unchanged: int = 0
    rows_deleted: int = 0
    rows_rejected: int = 0
    rows_rescued: int = 0
    child_rows: int = 0
    schema_changes: int = 0


@dataclass(frozen=True)
class Batch:
    """One loaded batch.

    Attributes:
        status: `loaded`, or `superseded` when a newer batch in bronze holds all of it.
        mode: How the source was read: full, incremental, cdc or file.
        scope: What the batch's rows mean, as in its manifest.
        rows_landed: Rows that extract landed.
        bytes: Bytes landed.
        window_read: What was read, from and to.
        previous_checkpoint: The state that the read began from.
        fingerprint: Of the table's configuration.
        plan: How it was loaded: `first`, `staged` or `none`.
        seconds: Time that loading took.
        origin: What it was read from, as in its manifest.
        counts: What loading did.
    """

    batch_id: str
    status: str
    mode: str
    scope: Mapping[str, Any]
    rows_landed: int
    bytes: int
    window_read: Mapping[str, Any]
    previous_checkpoint: Mapping[str, Any] | None
    fingerprint: str | None
    plan: str | None
    extracted_at: datetime
    loaded_at: datetime
    seconds: float
    flow_run_id: str | None
    origin: Mapping[str, Any] | None = None
    counts: Counts = field(default_factory=Counts)


class Loaded(NamedTuple):
    """What a second attempt at a batch is told of the first."""

    plan: str | None
    seconds: float
    counts: Counts


class Newer(NamedTuple):
    """A batch that was loaded although an older one was not."""

    batch_id: str
    previous_checkpoint: dict[str, Any] | None
    mode: str


class LastLoad(NamedTuple):
    """The newest batch of a table."""

    key: TableKey
    mode: str
    loaded_at: datetime
    rows_landed: int
    rows_inserted: int
    rows_updated: int
    rows_unchanged: int
    rows_deleted: int
    rows_rescued: int
    rows_rejected: int
    seconds: float


_COUNTS = tuple(column.name for column in dataclasses.fields(Counts))
_JSON = ("scope", "window_read", "previous_checkpoint", "origin")


def write(db: Executor, key: TableKey, batch: Batch) -> None:
    """Note a batch as loaded."""
    values = {
        column.name: getattr(batch, column.name) for column in dataclasses.fields(Batch) if column.name != "counts"
    }
    values |= {name: Jsonb(values[name]) for name in _JSON}
    values |= {**key._asdict(), **dataclasses.asdict(batch.counts)}
    db.execute(
        sql.SQL("insert into ops.batches ({}) values ({})").format(
            sql.SQL(", ").join(map(sql.Identifier, values)), sql.SQL(", ").join(map(sql.Placeholder, values))
        ),
        values,
    )


def find(db: Executor, key: TableKey, batch_id: str) -> Loaded | None:
    """Return what loading a batch did, or None when it is not loaded."""
    row = db.execute(
        sql.SQL("select plan, seconds, {} from ops.batches where (source, table_name, batch_id) = (%s, %s, %s)").format(
            sql.SQL(", ").join(map(sql.Identifier, _COUNTS))
        ),
        [*key, batch_id],
    ).fetchone()
    return None if row is None else Loaded(row[0], row[1], Counts(*row[2:]))


def newest_after(db: Executor, key: TableKey, batch_id: str) -> Newer | None:
    """Return the newest batch of a table that is loaded and younger than another, if there is one."""
    row = db.execute(
        """
        select batch_id, previous_checkpoint, mode from ops.batches
        where source = %s and table_name = %s and batch_id > %s order by batch_id desc limit 1
        """,
        [*key, batch_id],
    ).fetchone()
    return None if row is None else Newer(*row)


def holds_later_days(db: Executor, key: TableKey, day: str) -> bool:
    """Return whether a loaded batch of a table was read up to a later day (ISO) than this."""
    row = db.execute(
        """
        select exists (
            select from ops.batches where (source, table_name) = (%s, %s) and window_read ->> 'to' > %s
        )
        """,
        [*key, day],
    ).fetchone()
    return row == (True,)


def ids(db: Executor, key: TableKey, among: Collection[str] | None = None) -> list[str]:
    """Return the ids of a table's loaded batches, oldest first; with `among` only of those."""
    rows = db.execute(
        """
        select batch_id from ops.batches
        where (source, table_name) = (%s, %s) and (%s::text[] is null or batch_id = any(%s)) order by batch_id
        """,
        [*key, listed := None if among is None else list(among), listed],
    ).fetchall()
    return [row[0] for row in rows]


def last_origin(db: Executor, key: TableKey) -> dict[str, Any] | None:
    """Return what the newest batch of a table that tells was read from."""
    row = db.execute(
        "select origin from ops.batches where (source, table_name) = (%s, %s) and origin <> 'null'"
        " order by batch_id desc limit 1",
        [*key],
    ).fetchone()
    return row[0] if row else None


def newest(db: Executor) -> str:
    """Return the newest id of all tables, "" when nothing is loaded; ids sort by time."""
    row = db.execute("select coalesce(max(batch_id), '') from ops.batches").fetchone()
    return str(row[0]) if row else ""


def last_loaded_at(db: Executor) -> datetime | None:
    """Return when the last batch of all was loaded; None when none was."""
    [[at]] = db.execute("select max(loaded_at) from ops.batches").fetchall()
    return at  # type: ignore[no-any-return]


def last_loads(db: Executor) -> list[LastLoad]:
    """Return the newest batch of each table, by name."""
    rows = db.execute(
        """
        select distinct on (source, table_name) source, table_name, mode, loaded_at, rows_landed, rows_inserted,
            rows_updated, rows_unchanged, rows_deleted, rows_rescued, rows_rejected, seconds
        from ops.batches order by source, table_name, batch_id desc
        """
    ).fetchall()
    return [LastLoad(TableKey(*row[:2]), *row[2:]) for row in rows]


class Loading(NamedTuple):
    """When a batch was read and loaded, and whether anything changed by it."""

    key: TableKey
    loaded_at: datetime
    extracted_at: datetime
    changed: bool


def loadings(db: Executor, days: int, apart: datetime) -> list[Loading]:
    """Return what was loaded within the last days, oldest first.

    Args:
        db: A connection or cursor.
        days: How far back.
        apart: Batches that were loaded until then are one of each table, as late as the latest of them: one of those
            that changed rows, and one of those that did not.
    """
    rows = db.execute(
        """
        select source, table_name, max(loaded_at), max(extracted_at), changed
        from (
            select source, table_name, loaded_at, extracted_at,
                rows_inserted + rows_updated + rows_deleted + child_rows + schema_changes > 0 as changed,
                case when loaded_at > %s then batch_id end as batch_id
            from ops.batches where loaded_at > now() - make_interval(days => %s)
        ) loaded
        group by source, table_name, changed, batch_id
        order by 3
        """,
        [apart, days],
    ).fetchall()
    return [Loading(TableKey(*row[:2]), *row[2:]) for row in rows]


def forget(db: Executor, key: TableKey, batch_ids: Sequence[str]) -> None:
    """Forget that batches were loaded: they are loaded again."""
    db.execute(
        "delete from ops.batches where (source, table_name) = (%s, %s) and batch_id = any(%s)", [*key, list(batch_ids)]
    )
