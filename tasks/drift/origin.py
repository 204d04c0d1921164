"""Changes of what a table is read from: another collection under its name, none, or one without its index."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from tasks.bronze.plan import FieldChange
from tasks.bronze.postgres import ddl
from tasks.landing.manifest import Origin
from tasks.ops import TableKey, batches, relations, schema_changes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tasks.sources import TableRef
    from tasks.sources.connector import Successor

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


def successor(connection: psycopg.Connection[Any], ref: TableRef) -> Successor | None:
    """Return what a loaded table that is gone at its source was probably renamed to; None where nothing tells."""
    before = batches.last_origin(connection, ref.key)
    relation = relations.of_table(connection, ref.key).get(relations.ROOT)
    if before is None or relation is None:
        return None
    return ref.connector.successor(ref, Origin.model_validate(before), partial(_known, connection, relation))


def _known(connection: psycopg.Connection[Any], relation: str, keys: Sequence[str]) -> int:
    """Return how many of some keys a relation has."""
    counted = sql.SQL("select count(*) from {} where _id = any(%s)").format(ddl.relation(relation))
    [[count]] = connection.execute(counted, [list(keys)]).fetchall()
    return int(count)


def note_gone(
    connection: psycopg.Connection[Any], key: TableKey, evidence: Mapping[str, str], moved: Successor | None
) -> bool:
    """Note in the ledger that what a loaded table is read from is gone; return whether that is news.

    Args:
        connection: In autocommit.
        key: The table.
        evidence: What the source says.
        moved: What it was probably renamed to.
    """
    kind, action, found = "dropped", "rows kept as they are", dict[str, Any](evidence)
    if moved is not None:
        kind, action = "source_renamed", f"rows and checkpoint kept; probably renamed to {moved.name}"
        found |= moved.evidence
    with connection.transaction(), connection.cursor() as cursor:
        newest = max(batches.ids(cursor, key), default=None)
        if newest is None or schema_changes.has(cursor, key, newest, kind):
            return False
        schema_changes.write(cursor, key, newest, [FieldChange(TABLE, kind, action, evidence=found)])
        return True


def remedy(ref: TableRef, moved: Successor) -> str:
    """Return what a person does about a table that was renamed at its source."""
    return (
        f"set `collection: {moved.name}` of {ref.table_name} in sources.yaml if that is so: its rows and checkpoint "
        "stay, and a table of mode cdc is read anew once"
    )
