"""Loading all that is landed and not yet in bronze."""

from __future__ import annotations

from tasks import database
from tasks.bronze.load import LoadResult, load_batch
from tasks.landing import Landing
from tasks.settings import Settings
from tasks.sources import TableRef


def load_pending(ref: TableRef, settings: Settings) -> list[LoadResult]:
    """Load every landed batch of a table that is not in bronze, oldest first.

    Args:
        ref: The table.
        settings: Where warehouse and landing are.

    Returns:
        One result per batch; empty when nothing was waiting.

    Raises:
        WarehouseError: Of the first batch that failed; those before it are loaded.
    """
    url = settings.database_url()
    landing = Landing.open(settings.landing_root())
    return [
        load_batch(url, landing, landing.manifest(ref.source_name, ref.table_name, batch_id), ref.table)
        for batch_id in pending(url, landing, ref)
    ]


def pending(url: str, landing: Landing, ref: TableRef) -> list[str]:
    """Return the ids of landed batches that are not in bronze, oldest first."""
    landed = landing.batches(ref.source_name, ref.table_name)
    if not landed:
        return []
    with database.connect(url) as connection:
        database.ensure_ops(connection)
        rows = connection.execute(
            "select batch_id from ops.batches where (source, table_name) = (%s, %s) and batch_id = any(%s)",
            [ref.source_name, ref.table_name, landed],
        ).fetchall()
    loaded = {row[0] for row in rows}
    return [batch_id for batch_id in landed if batch_id not in loaded]
