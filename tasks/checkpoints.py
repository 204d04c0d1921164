"""Checkpoints: how far each table is loaded. The row in `ops.checkpoints` is the truth; a Prefect block mirrors it.

The row is written in the transaction that loads the data. The block shows it to people and carries their wish to
rewind. When the two disagree at the start of a run: a wish to rewind wins and is recorded, anything else in the block
is out of date and is written anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import psycopg
from psycopg.types.json import Jsonb

from tasks.errors import LoadError

_COLUMNS = "source, table_name, mode, state, batch_id, version, updated_at, flow_run_id, rewound_at"
# A rewind waits this long for a load of the same table to end.
_REWIND_LOCK_WAIT = "30s"


@dataclass(frozen=True)
class Checkpoint:
    """How far one table is loaded.

    Attributes:
        state: What extraction starts from; its form is the extractor's own. Empty means from the beginning.
        batch_id: The batch that led here; None after a rewind.
        version: Grows by one with every change.
        rewound_at: When a person last set it; batches extracted before that do not move it.
    """

    source: str
    table_name: str
    mode: str
    state: dict[str, Any]
    batch_id: str | None
    version: int
    updated_at: datetime
    flow_run_id: str | None = None
    rewound_at: datetime | None = None


class BlockView(Protocol):
    """What reconciliation needs of the block `table-checkpoint/<source>--<table>`."""

    state: dict[str, Any]
    version: int
    rewind_to: dict[str, Any] | None


@dataclass(frozen=True)
class Reconciled:
    """The outcome of comparing row and block.

    Attributes:
        checkpoint: What to start from; None means from the beginning.
        rewound: Whether a person's wish was carried out.
        block_behind: Whether the block has to be written anew.
    """

    checkpoint: Checkpoint | None
    rewound: bool
    block_behind: bool


def lock_key(source: str, table_name: str) -> str:
    """Return the text whose hash is the advisory lock of a table: loads and rewinds exclude each other."""
    return f"warehouse:{source}.{table_name}"


def read(connection: psycopg.Connection[Any], source: str, table_name: str) -> Checkpoint | None:
    """Return the checkpoint of a table, or None when it was never loaded."""
    row = connection.execute(
        f"select {_COLUMNS} from ops.checkpoints where source = %s and table_name = %s",  # noqa: S608 - constants
        [source, table_name],
    ).fetchone()
    return Checkpoint(*row) if row else None


def read_all(connection: psycopg.Connection[Any]) -> list[Checkpoint]:
    """Return every checkpoint, by name."""
    rows = connection.execute(f"select {_COLUMNS} from ops.checkpoints order by source, table_name")  # noqa: S608
    return [Checkpoint(*row) for row in rows.fetchall()]


def write(
    cursor: psycopg.Cursor[Any],
    source: str,
    table_name: str,
    *,
    mode: str,
    state: Mapping[str, Any],
    batch_id: str | None,
    flow_run_id: str | None = None,
    cause: str = "load",
) -> int:
    """Set a checkpoint inside the caller's transaction and note it in the history.

    Args:
        cursor: Of a transaction that holds the table's advisory lock.
        source: Source name.
        table_name: Table name.
        mode: The table's mode.
        state: The new state.
        batch_id: The batch that led to it.
        flow_run_id: The run that did it.
        cause: `load`, `rewind`, `reset` or `rebuild`.

    Returns:
        The new version.
    """
    rewound = "now()" if cause in ("rewind", "reset") else "c.rewound_at"
    first_rewound = "now()" if cause in ("rewind", "reset") else "null"
    row = cursor.execute(
        f"""
        insert into ops.checkpoints as c (source, table_name, mode, state, batch_id, version, flow_run_id, rewound_at)
        values (%(source)s, %(table)s, %(mode)s, %(state)s, %(batch)s, 1, %(run)s, {first_rewound})
        on conflict (source, table_name) do update set
            mode = excluded.mode, state = excluded.state, batch_id = excluded.batch_id, version = c.version + 1,
            updated_at = now(), flow_run_id = excluded.flow_run_id, rewound_at = {rewound}
        returning version
        """,  # noqa: S608 - only the two constants above are put in
        {
            "source": source,
            "table": table_name,
            "mode": mode,
            "state": Jsonb(dict(state)),
            "batch": batch_id,
            "run": flow_run_id,
        },
    ).fetchone()
    assert row is not None  # noqa: S101 - an upsert with returning always gives a row
    cursor.execute(
        """
        insert into ops.checkpoint_history (source, table_name, version, state, batch_id, cause, flow_run_id)
        values (%s, %s, %s, %s, %s, %s, %s)
        """,
        [source, table_name, row[0], Jsonb(dict(state)), batch_id, cause, flow_run_id],
    )
    return int(row[0])


def rewind(
    connection: psycopg.Connection[Any],
    source: str,
    table_name: str,
    state: Mapping[str, Any],
    *,
    mode: str | None = None,
    cause: str = "rewind",
    flow_run_id: str | None = None,
) -> Checkpoint:
    """Set a checkpoint to what a person asked for, in a transaction of its own.

    Batches extracted before this moment still load, but do not move the checkpoint.

    Raises:
        LoadError: A load of the table did not end in time.
    """
    with connection.transaction():
        cursor = connection.cursor()
        cursor.execute(f"set local lock_timeout = '{_REWIND_LOCK_WAIT}'")
        try:
            cursor.execute("select pg_advisory_xact_lock(hashtextextended(%s, 0))", [lock_key(source, table_name)])
        except psycopg.errors.LockNotAvailable:
            raise LoadError(
                "the table is being loaded", f"{source}.{table_name}", "rewind again when the load has ended"
            ) from None
        current = read(connection, source, table_name)
        write(
            cursor,
            source,
            table_name,
            mode=mode or (current.mode if current else "full"),
            state=state,
            batch_id=None,
            flow_run_id=flow_run_id,
            cause=cause,
        )
        changed = read(connection, source, table_name)
    assert changed is not None  # noqa: S101 - written above
    return changed


def reconcile(
    connection: psycopg.Connection[Any], source: str, table_name: str, block: BlockView | None, *, mode: str = "full"
) -> Reconciled:
    """Compare the row with the block, carry out a person's rewind, and say whether the block must be written.

    Args:
        connection: Outside a transaction.
        source: Source name.
        table_name: Table name.
        block: The block as loaded, or None when there is none.
        mode: The table's mode, for a rewind of a table that was never loaded.
    """
    current = read(connection, source, table_name)
    if block is not None and block.rewind_to is not None:
        rewound = rewind(connection, source, table_name, block.rewind_to, mode=mode)
        return Reconciled(rewound, rewound=True, block_behind=True)
    if current is None:
        # Without a row nothing is loaded: a block that claims otherwise belongs to a warehouse that is gone.
        return Reconciled(None, rewound=False, block_behind=block is not None and block.version > 0)
    behind = block is None or block.version != current.version or block.state != current.state
    return Reconciled(current, rewound=False, block_behind=behind)
