"""`ops.checkpoints`: how far each table is loaded, and `ops.checkpoint_history`, every value that this ever had."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from tasks.ops import Executor, TableKey

_COLUMNS = "source, table_name, mode, state, batch_id, version, updated_at, flow_run_id, rewound_at"


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


def read(db: Executor, key: TableKey) -> Checkpoint | None:
    """Return the checkpoint of a table, or None when it was never loaded."""
    row = db.execute(
        f"select {_COLUMNS} from ops.checkpoints where source = %s and table_name = %s",  # noqa: S608 - constants
        [*key],
    ).fetchone()
    return Checkpoint(*row) if row else None


def read_all(db: Executor) -> list[Checkpoint]:
    """Return every checkpoint, by name."""
    rows = db.execute(f"select {_COLUMNS} from ops.checkpoints order by source, table_name")  # noqa: S608
    return [Checkpoint(*row) for row in rows.fetchall()]


def write(
    db: Executor,
    key: TableKey,
    *,
    mode: str,
    state: Mapping[str, Any],
    batch_id: str | None,
    flow_run_id: str | None = None,
    cause: str = "load",
) -> int:
    """Set a checkpoint inside the caller's transaction and note it in the history.

    Args:
        db: In a transaction that holds the table's advisory lock.
        key: The table.
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
    row = db.execute(
        f"""
        insert into ops.checkpoints as c (source, table_name, mode, state, batch_id, version, flow_run_id, rewound_at)
        values (%(source)s, %(table)s, %(mode)s, %(state)s, %(batch)s, 1, %(run)s, {first_rewound})
        on conflict (source, table_name) do update set
            mode = excluded.mode, state = excluded.state, batch_id = excluded.batch_id, version = c.version + 1,
            updated_at = now(), flow_run_id = excluded.flow_run_id, rewound_at = {rewound}
        returning version
        """,  # noqa: S608 - only the two constants above are put in
        {
            "source": key.source,
            "table": key.table_name,
            "mode": mode,
            "state": Jsonb(dict(state)),
            "batch": batch_id,
            "run": flow_run_id,
        },
    ).fetchone()
    assert row is not None  # noqa: S101 - an upsert with returning always gives a row
    db.execute(
        """
        insert into ops.checkpoint_history (source, table_name, version, state, batch_id, cause, flow_run_id)
        values (%s, %s, %s, %s, %s, %s, %s)
        """,
        [*key, row[0], Jsonb(dict(state)), batch_id, cause, flow_run_id],
    )
    return int(row[0])
