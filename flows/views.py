"""What the command line reads from the warehouse's control tables."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tasks import database
from tasks.errors import ConfigError
from tasks.ops import TableKey
from tasks.ops.migrations import migrate
from tasks.sources import registry

if TYPE_CHECKING:
    from datetime import datetime

    import psycopg
    from psycopg.pq.abc import PGresult

    from tasks.ops.checkpoints import Checkpoint
    from tasks.ops.rejects import Reject
    from tasks.ops.schema_changes import SchemaChange
    from tasks.sources import Sources
    from tasks.sources.connector import Connector

# A state is opaque to everyone but its extractor; a person needs its beginning.
_STATE_CHARACTERS = 80

Row = tuple[Any, ...]
NUMBERS = frozenset({20, 21, 23, 700, 701, 1700})
"""Postgres's ids of bigint, smallint, integer, real, double precision and numeric."""


def texts(result: PGresult, most: int) -> list[list[str | None]]:
    """Return the first rows of a result as Postgres wrote them: Python has no date before year 1 or after 9999."""
    rows, columns = range(min(result.ntuples, most)), range(result.nfields)
    values = [[result.get_value(row, column) for column in columns] for row in rows]
    return [[None if value is None else value.decode() for value in row] for row in values]


def opened(url: str) -> psycopg.Connection[Any]:
    """Open a connection on which the control tables exist."""
    connection = database.connect(url, autocommit=True)
    migrate(connection)
    return connection


def key_of(name: str) -> TableKey:
    """Return the table that `source.table` names.

    Raises:
        ConfigError: The name has another form.
    """
    source, dot, table = name.partition(".")
    if not dot or not source or not table or "." in table:
        raise ConfigError(f"{name!r} is not a table", "the command line", "write source.table, such as shop.orders")
    return TableKey(source, table)


def checkpoints(url: str, tables: Sequence[str], sources: Sources | None = None) -> list[Row]:
    """Return table, mode, position, version, time and cause-free batch of each checkpoint asked for.

    Args:
        url: Of the warehouse.
        tables: `source.table`; none means every table.
        sources: Tell how a state is read; None means as JSON.
    """
    from tasks.ops import checkpoints as stored

    wanted = {key_of(name) for name in tables}
    with opened(url) as connection:
        found = stored.read_all(connection)
    known = sources.sources if sources else {}
    connectors = {name: registry.connector(source.kind) for name, source in known.items()}
    return [
        _checkpoint_row(one, connectors.get(one.source))
        for one in found
        if not wanted or (one.source, one.table_name) in wanted
    ]


def _checkpoint_row(one: Checkpoint, connector: Connector[Any, Any] | None) -> Row:
    return (
        f"{one.source}.{one.table_name}",
        one.mode,
        position(one.state, connector),
        one.version,
        _second(one.updated_at),
        one.batch_id or "set by hand",
    )


def position(state: dict[str, Any], connector: Connector[Any, Any] | None) -> str:
    """Return where the next run starts, as people read it.

    Args:
        state: The checkpoint's state.
        connector: That of the table's source; None where sources.yaml no longer tells of it.
    """
    if not state:
        return "from the beginning"
    told = connector.describe_state(state) if connector else None
    if told is not None:
        return told
    text = json.dumps(state, sort_keys=True)
    return text if len(text) <= _STATE_CHARACTERS else f"{text[:_STATE_CHARACTERS]}... ({len(text)} characters)"


def last_loads(url: str) -> list[Row]:
    """Return table, time, rows and seconds of the last batch of each table."""
    from tasks.ops import batches

    with opened(url) as connection:
        found = batches.last_loads(connection)
    return [
        (
            *(str(one.key), _second(one.loaded_at), one.rows_landed, one.rows_inserted, one.rows_updated),
            *(one.rows_unchanged, one.rows_deleted, one.rows_rescued, one.rows_rejected, one.seconds),
        )
        for one in found
    ]


def last_batch(url: str) -> str:
    """Return the newest batch id that is loaded, "" when there is none; ids sort by time."""
    from tasks.ops import batches

    with opened(url) as connection:
        return batches.newest(connection)


def schema_changes(url: str, tables: Sequence[str], since_batch: str = "", *, everything: bool = False) -> list[Row]:
    """Return the ledger of drift, newest first.

    Args:
        url: Of the warehouse.
        tables: `source.table`; none means every table.
        since_batch: Only what came after that batch.
        everything: Closed entries, too, each with how it was closed.
    """
    from tasks.ops import schema_changes as ledger

    with opened(url) as connection:
        found = ledger.find(connection, [key_of(name) for name in tables], since_batch, resolved=everything)
    return [
        (
            *(c.id, str(c.key), c.field, c.change, c.old_type or "", c.new_type or "", c.action, _second(c.seen_at)),
            *((_closed(c),) if everything else ()),
        )
        for c in found
    ]


def _closed(change: SchemaChange) -> str:
    if change.resolved_at is None:
        return "open"
    return f"{_second(change.resolved_at)} by {change.resolved_by}: {change.resolved_why}"


def resolve_schema_changes(url: str, ids: Sequence[int], by: str, why: str) -> None:
    """Close entries of the ledger of drift, all or none.

    Raises:
        ConfigError: One of them is not open.
    """
    from tasks.ops import schema_changes as ledger

    with opened(url) as connection, connection.transaction(), connection.cursor() as cursor:
        closed = ledger.resolve(cursor, ids, by, why)
        if missing := sorted({*ids} - {*closed}):
            told = ", ".join(map(str, missing))
            raise ConfigError(
                f"no open entry is called {told}: nothing was closed", "ops.schema_changes", "see `warehouse drift`"
            )


def rejects(url: str, tables: Sequence[str], limit: int) -> list[Row]:
    """Return the newest rejects without their documents."""
    from tasks.ops import rejects as stored

    with opened(url) as connection:
        found = stored.find(connection, [key_of(name) for name in tables], limit=limit)
    return [_reject_row(one) for one in found]


def _reject_row(one: Reject) -> Row:
    table, seen_at = f"{one.source}.{one.table_name}", _second(one.seen_at)
    return one.id, table, one.stage, one.document_id or "", one.path or "", one.reason, seen_at, one.outcome or ""


def reject(url: str, number: int) -> dict[str, Any]:
    """Return one reject whole.

    Raises:
        ConfigError: There is no such reject.
    """
    from dataclasses import asdict

    from tasks.ops import rejects as stored

    with opened(url) as connection:
        found = stored.find(connection, ids=[number])
    if not found:
        raise ConfigError(f"there is no reject {number}", "ops.rejects", "see `warehouse rejects list`")
    return asdict(found[0])


def _second(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}"
