"""Checkpoint blocks on a Prefect server that has never seen one."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from threading import Barrier

from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound

from tasks import checkpoint_block

TABLES = 6


def test_the_first_tables_of_all_can_be_saved_side_by_side(prefect_server: str) -> None:
    """Each of them finds the block's type missing and registers it; all but one are refused that."""
    with get_client(sync_client=True) as client, suppress(ObjectNotFound):
        client.delete_block_type(client.read_block_type_by_slug("table-checkpoint").id)
    checkpoint_block.registered.cache_clear()
    together = Barrier(TABLES)

    def save(number: int) -> None:
        together.wait(timeout=30)
        checkpoint_block.save("first", f"table_{number}", None)

    with ThreadPoolExecutor(TABLES) as pool:
        # Each thread gets a copy of the context, which holds the settings that name the server.
        saves = [pool.submit(copy_context().run, save, number) for number in range(TABLES)]
        for future in saves:
            future.result()
    assert all(checkpoint_block.load("first", f"table_{number}") for number in range(TABLES))
