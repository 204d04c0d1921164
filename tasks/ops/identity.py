"""`ops.warehouse`: the id of this warehouse, by which its runs are known at a Prefect server that others use too."""

from __future__ import annotations

from uuid import UUID

from tasks.ops import Executor


def read(db: Executor) -> UUID:
    """Return the id of this warehouse; it never changes."""
    [[warehouse_id]] = db.execute("select id from ops.warehouse").fetchall()
    return UUID(str(warehouse_id))
