"""What the checkpoint blocks of all tables say, in one request; loading each by itself costs a table 150 ms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from tasks.paging import pages


@dataclass
class BlockState:
    """What reconciliation needs of a table's block.

    Attributes:
        state: The state it shows.
        version: The version of the checkpoint that it mirrors.
        rewind_to: A person's wish.
        exists: False stands for a table that has no block.
    """

    state: dict[str, Any] = field(default_factory=dict)
    version: int = 0
    rewind_to: dict[str, Any] | None = None
    exists: bool = True


NO_BLOCK = BlockState(exists=False)


def read_all() -> Mapping[str, BlockState]:
    """Return the checkpoint blocks by block name."""
    from prefect.client.orchestration import get_client
    from prefect.exceptions import PrefectHTTPStatusError

    from tasks.checkpoint_block import TableCheckpoint

    slug = TableCheckpoint.get_block_type_slug()
    client = get_client(sync_client=True)
    try:
        found = list(pages(lambda limit, offset: client.read_block_documents_by_type(slug, offset=offset, limit=limit)))
    except PrefectHTTPStatusError as error:
        # On the first run of all not even the type is registered.
        if error.response.status_code == HTTPStatus.NOT_FOUND:
            return {}
        raise
    return {
        document.name or "": BlockState(
            document.data.get("state") or {}, int(document.data.get("version") or 0), document.data.get("rewind_to")
        )
        for document in found
    }
