"""Checkpoints: how far each table is loaded. The row in `ops.checkpoints` is the truth; a Prefect block mirrors it.

The row is written in the transaction that loads the data. The block shows it to people and carries their wish to
rewind. When the two disagree at the start of a run: a wish to rewind wins and is recorded, anything else in the block
is out of date and is written anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import psycopg

from tasks.errors import LoadError
from tasks.ops import TableKey, resets
from tasks.ops.checkpoints import Checkpoint, read, write

# A rewind waits this long for a load of the same table to end.
_REWIND_LOCK_WAIT = "30s"


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
        key = TableKey(source, table_name)
        current = read(cursor, key)
        # A later wish takes the place of an earlier one.
        resets.end(cursor, key, None)
        write(
            cursor,
            key,
            mode=mode or (current.mode if current else "full"),
            state=state,
            batch_id=None,
            flow_run_id=flow_run_id,
            cause=cause,
        )
        changed = read(cursor, key)
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
    current = read(connection, TableKey(source, table_name))
    if block is not None and block.rewind_to is not None:
        rewound = rewind(connection, source, table_name, block.rewind_to, mode=mode)
        return Reconciled(rewound, rewound=True, block_behind=True)
    if current is None:
        # Without a row nothing is loaded: a block that claims otherwise belongs to a warehouse that is gone.
        return Reconciled(None, rewound=False, block_behind=block is not None and block.version > 0)
    behind = block is None or block.version != current.version or block.state != current.state
    return Reconciled(current, rewound=False, block_behind=behind)
