"""Rejected documents and rows: listing, showing, and loading them after a rule or a schema was mended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
from psycopg import sql

from tasks import database
from tasks.bronze import ddl
from tasks.bronze.load import REPLAY, load_batch
from tasks.bronze.pending import pending
from tasks.bronze.stage import normal_keys
from tasks.errors import LoadError
from tasks.landing import Landing, Manifest
from tasks.landing.manifest import Segment
from tasks.ops import migrations, rejects, relations
from tasks.ops.rejects import Reject
from tasks.ops.relations import ROOT
from tasks.settings import Settings
from tasks.sources import TableRef


@dataclass(frozen=True)
class Replayed:
    """What a replay did: rejects that are in bronze now, that were replaced by a later read, and still refused."""

    loaded: int
    outdated: int
    refused: int


def replay(ref: TableRef, settings: Settings, ids: Sequence[int] = ()) -> Replayed:
    """Try to load a table's rejects again, each as of the moment it was read: a later read always wins.

    Documents are decoded anew from their bytes; rows that Postgres refused come from their landed parts.

    Args:
        ref: The table.
        settings: Where warehouse and landing are.
        ids: Only these rejects; empty means all that wait.

    Raises:
        LoadError: Batches wait to be loaded first.
    """
    url = settings.database_url()
    landing = Landing.open(settings.landing_root())
    if pending(url, landing, ref):
        raise LoadError("landed batches wait to be loaded", ref.name, "run the table first, then replay")
    with database.connect(url, autocommit=True) as connection:
        migrations.migrate(connection)
        found = rejects.find(connection, [ref.key], ids=ids, waiting=not ids, limit=1_000_000)
    by_batch: dict[str, list[Reject]] = {}
    for reject in found:
        by_batch.setdefault(reject.batch_id, []).append(reject)
    outcomes: dict[int, str] = {}
    for _, batch in sorted(by_batch.items()):
        outcomes |= _replay_batch(url, landing, ref, batch)
    with database.connect(url) as connection:
        rejects.note_outcomes(connection.cursor(), outcomes)
        connection.commit()
    counts = list(outcomes.values())
    return Replayed(counts.count("loaded"), counts.count("outdated"), counts.count("refused"))


def _replay_batch(url: str, landing: Landing, ref: TableRef, batch: Sequence[Reject]) -> dict[int, str]:
    """Land and load the rejects of one batch again; return the outcome of each."""
    key = ref.key
    batch_id = batch[0].batch_id
    if batch_id not in landing.batches(*key):
        return {reject.id: "refused" for reject in batch}
    manifest = landing.manifest(*key, batch_id)
    again = _next_id(landing, ref, batch_id)
    keys: dict[int, str] = {}
    with landing.writer(*key, again) as writer:
        statistics: dict[str, Any] = {"": {"rows": 0, "fields": {}}}
        for reject in batch:
            raw = reject.bytes
            frames = _landed(landing, manifest, reject) if raw is None else ref.connector.decode_reject(ref, bytes(raw))
            rows = frames.pop("", None)
            if rows is None or rows.is_empty():
                continue
            keys[reject.id] = normal_keys(rows["_id"])[-1]
            writer.write(rows)
            for path, frame in frames.items():
                statistics.setdefault(path, {"rows": 0, "fields": {}})
                writer.write(frame, kind="child", child=path)
        segment = writer.finish(statistics, 0, 0.0)
    if not keys:
        landing.delete(*key, again)
        return {reject.id: "refused" for reject in batch}
    landed = _commit(landing, manifest, again, segment)
    load_batch(url, landing, landed, ref.table)
    return {reject.id: _outcome(url, ref, again, keys.get(reject.id)) for reject in batch}


def _commit(landing: Landing, manifest: Manifest, batch_id: str, segment: Segment) -> Manifest:
    return landing.commit(
        manifest.source,
        manifest.table,
        batch_id,
        [segment],
        mode=manifest.mode,
        extracted_at=manifest.extracted_at,
        source_time=manifest.source_time,
        fingerprint=manifest.fingerprint,
        checkpoint=manifest.checkpoint,
        previous_checkpoint=manifest.previous_checkpoint,
        window={"from": "replayed rejects", "to": manifest.batch_id},
    )


def _next_id(landing: Landing, ref: TableRef, batch_id: str) -> str:
    root = REPLAY.sub("", batch_id)
    taken = set(landing.batches(ref.source_name, ref.table_name))
    return next(name for number in range(1, 1_000_000) if (name := f"{root}-r{number}") not in taken)


def _landed(landing: Landing, manifest: Manifest, reject: Reject) -> dict[str, pl.DataFrame]:
    """Return the landed row that Postgres refused, with its child rows."""
    if reject.path or reject.document_id is None:
        return {}
    chosen = [landing.read(manifest, part) for part in manifest.of_kind("rows")]
    rows = [frame.filter(pl.col("_id") == reject.document_id) for frame in chosen]
    found = {"": pl.concat([frame for frame in rows if frame.height] or [rows[0]], how="diagonal")[-1:]} if rows else {}
    for path in manifest.children:
        parts = [landing.read(manifest, part) for part in manifest.of_kind("child", path)]
        children = [frame.filter(pl.col("_root_id") == reject.document_id) for frame in parts]
        found[path] = pl.concat(children, how="diagonal") if children else pl.DataFrame()
    return found


def _outcome(url: str, ref: TableRef, batch_id: str, document_id: str | None) -> str:
    """Return `loaded`, `refused` again, or `outdated` when bronze holds a later read of the document."""
    if document_id is None:
        return "refused"
    with database.connect(url) as connection, connection.cursor() as cursor:
        if rejects.holds(cursor, ref.key, batch_id, document_id):
            return "refused"
        name = relations.of_table(cursor, ref.key)[ROOT]
        [[loaded]] = cursor.execute(
            sql.SQL("select exists (select from {} where _id = %s and _batch_id = %s)").format(ddl.relation(name)),
            [document_id, batch_id],
        ).fetchall()
    return "loaded" if loaded else "outdated"
