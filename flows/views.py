"""What the command line reads from the warehouse's control tables."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tasks import database
from tasks.errors import ConfigError
from tasks.sources import registry

if TYPE_CHECKING:
    import psycopg
    from psycopg.pq.abc import PGresult

    from tasks.checkpoints import Checkpoint
    from tasks.sources import Sources
    from tasks.sources.connector import Connector

# A state is opaque to everyone but its extractor; a person needs its beginning.
_STATE_CHARACTERS = 80

Row = tuple[Any, ...]
NUMBERS = frozenset({20, 21, 23, 700, 701, 1700})
"""Postgres's ids of bigint, smallint, integer, real, double precision and numeric."""


def rows(connection: psycopg.Connection[Any], query: str, parameters: Sequence[object] = ()) -> list[Row]:
    """Return the rows of a constant query."""
    return connection.execute(query.encode(), parameters).fetchall()


def texts(result: PGresult, most: int) -> list[list[str | None]]:
    """Return the first rows of a result as Postgres wrote them: Python has no date before year 1 or after 9999."""
    rows, columns = range(min(result.ntuples, most)), range(result.nfields)
    values = [[result.get_value(row, column) for column in columns] for row in rows]
    return [[None if value is None else value.decode() for value in row] for row in values]


def opened(url: str) -> psycopg.Connection[Any]:
    """Open a connection on which the control tables exist."""
    connection = database.connect(url, autocommit=True)
    database.ensure_ops(connection)
    return connection


def split(name: str) -> tuple[str, str]:
    """Return source and table of `source.table`.

    Raises:
        ConfigError: The name has another form.
    """
    source, dot, table = name.partition(".")
    if not dot or not source or not table or "." in table:
        raise ConfigError(f"{name!r} is not a table", "the command line", "write source.table, such as shop.orders")
    return source, table


def checkpoints(url: str, tables: Sequence[str], sources: Sources | None = None) -> list[Row]:
    """Return table, mode, position, version, time and cause-free batch of each checkpoint asked for.

    Args:
        url: Of the warehouse.
        tables: `source.table`; none means every table.
        sources: Tell how a state is read; None means as JSON.
    """
    from tasks import checkpoints as store

    wanted = {split(name) for name in tables}
    with opened(url) as connection:
        found = store.read_all(connection)
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
        f"{one.updated_at:%Y-%m-%d %H:%M:%S}",
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
    with opened(url) as connection:
        return rows(
            connection,
            """
            select distinct on (source, table_name) source || '.' || table_name,
                to_char(loaded_at, 'YYYY-MM-DD HH24:MI:SS'), rows_landed, rows_inserted, rows_updated,
                rows_unchanged, rows_deleted, rows_rescued, rows_rejected, seconds
            from ops.batches order by source, table_name, batch_id desc
            """,
        )


def last_batch(url: str) -> str:
    """Return the newest batch id that is loaded, "" when there is none; ids sort by time."""
    with opened(url) as connection:
        return str(rows(connection, "select coalesce(max(batch_id), '') from ops.batches")[0][0])


def schema_changes(url: str, tables: Sequence[str], since_batch: str = "") -> list[Row]:
    """Return the ledger of drift, newest first; with `since_batch`, what came after that batch."""
    wanted = [".".join(split(name)) for name in tables]
    with opened(url) as connection:
        return rows(
            connection,
            """
            select source || '.' || table_name, field, change, coalesce(old_type, ''), coalesce(new_type, ''), action,
                to_char(seen_at, 'YYYY-MM-DD HH24:MI:SS')
            from ops.schema_changes
            where (%s::text[] = '{}' or source || '.' || table_name = any(%s)) and batch_id > %s
            order by id desc
            """,
            [wanted, wanted, since_batch],
        )


def rejects(url: str, tables: Sequence[str], limit: int) -> list[Row]:
    """Return the newest rejects without their documents."""
    wanted = [".".join(split(name)) for name in tables]
    with opened(url) as connection:
        return rows(
            connection,
            """
            select id, source || '.' || table_name, stage, coalesce(document_id, ''), coalesce(path, ''), reason,
                to_char(seen_at, 'YYYY-MM-DD HH24:MI:SS'), coalesce(outcome, '')
            from ops.rejects
            where %s::text[] = '{}' or source || '.' || table_name = any(%s)
            order by id desc limit %s
            """,
            [wanted, wanted, limit],
        )


def reject(url: str, number: int) -> dict[str, Any]:
    """Return one reject whole.

    Raises:
        ConfigError: There is no such reject.
    """
    from psycopg.rows import dict_row

    with opened(url) as connection, connection.cursor(row_factory=dict_row) as cursor:
        found = cursor.execute("select * from ops.rejects where id = %s", [number]).fetchone()
    if found is None:
        raise ConfigError(f"there is no reject {number}", "ops.rejects", "see `warehouse rejects list`")
    return found
