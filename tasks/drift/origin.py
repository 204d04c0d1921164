"""Changes of what a table is read from: another collection under its name, none, or one without its index."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import psycopg

from tasks.bronze.plan import FieldChange
from tasks.landing.manifest import Origin
from tasks.ops import TableKey, batches, schema_changes

TABLE = "(table)"
"""Stands in the ledger where the name of a field stands else."""


def refilled(before: Origin, now: Origin) -> FieldChange | None:
    """Return the change when a table is read from another collection, or the like, under the same name."""
    if not before.identity or not now.identity or before.identity == now.identity:
        return None
    evidence = {"was": before.identity, "is": now.identity}
    return FieldChange(TABLE, "refilled", "read as any other batch", evidence=evidence)


def index_lost(before: Origin, now: Origin) -> FieldChange | None:
    """Return the change when the field by which a table is read has no index any more."""
    if before.cursor != now.cursor or not before.cursor_indexed or now.cursor_indexed is not False:
        return None
    return FieldChange(str(now.cursor), "index_lost", "read without it, more slowly", "indexed", "not indexed")


def changes(cursor: psycopg.Cursor[Any], key: TableKey, now: Origin | None) -> list[FieldChange]:
    """Return what is different from what the last batch that tells was read from.

    Args:
        cursor: Inside the load's transaction, before the batch is noted as loaded.
        key: The table.
        now: Of the batch; None where its source does not tell.
    """
    before = batches.last_origin(cursor, key) if now else None
    if now is None or before is None:
        return []
    known = Origin.model_validate(before)
    return [change for tell in (refilled, index_lost) if (change := tell(known, now))]


def note_dropped(connection: psycopg.Connection[Any], key: TableKey, evidence: Mapping[str, str]) -> bool:
    """Note in the ledger that what a loaded table is read from is gone; return whether that is news.

    Args:
        connection: In autocommit.
        key: The table.
        evidence: What the source says.
    """
    with connection.transaction(), connection.cursor() as cursor:
        newest = max(batches.ids(cursor, key), default=None)
        if newest is None or schema_changes.has(cursor, key, newest, "dropped"):
            return False
        change = FieldChange(TABLE, "dropped", "rows kept as they are", evidence=dict(evidence))
        schema_changes.write(cursor, key, newest, [change])
        return True
