"""The Prefect block that mirrors a checkpoint: what people see, and where they ask for a rewind."""

from __future__ import annotations

import threading
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

from prefect.blocks.core import Block
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import BlockDocumentCreate, BlockDocumentUpdate
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
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
    """Write the block so that it mirrors the row; a carried-out wish to rewind is cleared.

    Not by `Block.save`, which asks for the type and the schema each time, and takes seven requests for what are two.
    """
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
    data = block.model_dump(mode="json", include=set(TableCheckpoint.model_fields))
    name, client = block_name(source, table_name), get_client(sync_client=True)
    with _registering:
        type_id, schema_id = registered(str(client.api_url))
    try:
        known = client.read_block_document_by_name(name, TableCheckpoint.get_block_type_slug())
    except ObjectNotFound:
        made = BlockDocumentCreate(name=name, data=data, block_type_id=type_id, block_schema_id=schema_id)
        client.create_block_document(made)
    else:
        client.update_block_document(known.id, BlockDocumentUpdate(data=data, block_schema_id=schema_id))


# One thread of a process asks for the ids, the others wait for them.
_registering = threading.Lock()


@lru_cache
def registered(api_url: str) -> tuple[UUID, UUID]:
    """Return the ids of the block's type and schema at a server, which learns of both where it knows them not."""
    try:
        TableCheckpoint.register_type_and_schema()
    except ObjectAlreadyExists:
        # Another process of the first run did so at the same moment.
        TableCheckpoint.register_type_and_schema()
    type_id, schema_id = TableCheckpoint._block_type_id, TableCheckpoint._block_schema_id
    assert type_id is not None and schema_id is not None  # noqa: S101 - registering sets both
    return type_id, schema_id
