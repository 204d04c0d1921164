"""The Prefect block that mirrors a checkpoint: what people see, and where they ask for a rewind."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from prefect.blocks.core import Block
from prefect.exceptions import ObjectAlreadyExists
from pydantic import Field

from tasks.ops.checkpoints import Checkpoint


class TableCheckpoint(Block):
    """How far one table is loaded. The warehouse's own row decides; fill in `rewind_to` to read again from there.

    Attributes:
        source: Source name.
        table_name: Table name.
        mode: full, incremental, cdc or file.
        state: What the next extract starts from.
        batch_id: The batch that led here.
        version: Version of the row that this block mirrors.
        updated_at: When the row changed.
        flow_run_id: The run that changed it.
        rewind_to: A person's wish: the state to start from next time; `{}` means from the beginning.
    """

    _block_type_slug = "table-checkpoint"
    _block_type_name = "Table Checkpoint"
    _description = "How far a table is loaded; set rewind_to to read again from there."

    # Every field has a default, so that a block saved by an older release still loads.
    source: str = ""
    table_name: str = ""
    mode: str = ""
    state: dict[str, Any] = Field(default_factory=dict)
    batch_id: str | None = None
    version: int = 0
    updated_at: datetime | None = None
    flow_run_id: str | None = None
    rewind_to: dict[str, Any] | None = None


def block_name(source: str, table_name: str) -> str:
    """Return the block's name: Prefect allows small letters, digits and dashes."""
    return f"{source}--{table_name}".replace("_", "-").lower()


def load(source: str, table_name: str) -> TableCheckpoint | None:
    """Return the block of a table, or None when there is none."""
    try:
        loaded = TableCheckpoint.load(block_name(source, table_name))
    except ValueError:
        return None
    assert isinstance(loaded, TableCheckpoint)  # noqa: S101 - load() is async or sync by context; flows call it sync
    return loaded


def save(source: str, table_name: str, checkpoint: Checkpoint | None) -> None:
    """Write the block so that it mirrors the row; a carried-out wish to rewind is cleared."""
    fields: dict[str, Any] = {}
    if checkpoint is not None:
        fields = {
            "mode": checkpoint.mode,
            "state": checkpoint.state,
            "batch_id": checkpoint.batch_id,
            "version": checkpoint.version,
            "updated_at": checkpoint.updated_at,
            "flow_run_id": checkpoint.flow_run_id,
        }
    block = TableCheckpoint(source=source, table_name=table_name, **fields)
    try:
        block.save(block_name(source, table_name), overwrite=True)
    except ObjectAlreadyExists:
        # Another table, saved at the same moment of the first run, registered the block's type for both.
        block.save(block_name(source, table_name), overwrite=True)
