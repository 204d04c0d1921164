"""Rejected documents and rows: listing, showing, and loading them after a rule or a schema was mended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from tasks import database
from tasks.bronze.convert import normal_keys
from tasks.bronze.load import REPLAY, load_batch
from tasks.bronze.pending import pending
from tasks.bronze.postgres.destination import Postgres
from tasks.errors import LoadError
from tasks.landing import Landing, Manifest
from tasks.landing.manifest import Segment
from tasks.landing.rules import Rules
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
    # Oldest first: of several versions of a document the last one counts.
    for reject in reversed(found):
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
    documents = [reject.document_id for reject in batch if reject.bytes is None and reject.document_id is not None]
    landed = _Landed(landing, manifest, documents)
    keys: dict[int, str] = {}
    outdated: set[int] = set()
    rules = Rules(ref.table.rules, ref.table.child_paths)
    with landing.writer(*key, again) as writer:
        # All child tables, as after a read: an array that no document of these has is empty, and its older rows go.
        empty: dict[str, Any] = {"rows": 0, "fields": {}}
        statistics = dict.fromkeys((ROOT, *ref.table.child_paths), empty)
        for reject in batch:
            raw = reject.bytes
            frames = landed.of(reject) if raw is None else ref.connector.decode_reject(ref, bytes(raw))
            if frames is None:
                outdated.add(reject.id)
                continue
            if "" not in frames or frames[""].is_empty():
                continue
            frames = rules.sort(frames).kept
            rows = frames.pop("")
            if rows.is_empty():
                continue
            keys[reject.id] = normal_keys(rows["_id"])[-1]
            writer.write(rows)
            for path, frame in frames.items():
                statistics.setdefault(path, empty)
                writer.write(frame, kind="child", child=path)
        segment = writer.finish(statistics, 0, 0.0)
    if not keys:
        landing.delete(*key, again)
        return {reject.id: "outdated" if reject.id in outdated else "refused" for reject in batch}
    load_batch(url, landing, _commit(landing, manifest, again, segment), ref.table)
    return {
        reject.id: "outdated" if reject.id in outdated else _outcome(url, ref, again, keys.get(reject.id))
        for reject in batch
    }


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


@dataclass(frozen=True)
class _Version:
    """The last row of a document that a batch landed, with its child rows; `part` is where it stands in the batch."""

    part: int
    frames: dict[str, pl.DataFrame]


class _Landed:
    """The landed rows of some documents of one batch: those that bronze was given, and those that a rule held back."""

    def __init__(self, landing: Landing, manifest: Manifest, ids: Sequence[str]) -> None:
        self._versions: dict[tuple[str, str], _Version] = {}
        roots: dict[str, int] = {}
        for index, part in enumerate(manifest.parts if ids else ()):
            if part.kind not in ("rows", "child", "held"):
                continue
            kind, key = "held" if part.kind == "held" else "rows", "_root_id" if part.child else "_id"
            found = landing.read(manifest, part).filter(pl.col(key).is_in(ids))
            if not part.child:
                roots[kind] = index
            for (document,), rows in found.partition_by(key, as_dict=True, maintain_order=True).items():
                known = self._versions.get((kind, document))
                if not part.child:
                    self._versions[kind, document] = _Version(index, {"": rows[-1:]})
                elif known and known.part == roots[kind]:
                    known.frames[part.child] = rows

    def of(self, reject: Reject) -> dict[str, pl.DataFrame] | None:
        """Return the frames of a reject, nothing where there are none; None where a later version was landed."""
        document = reject.document_id or ""
        if reject.stage == "load":
            found = None if reject.path else self._versions.get(("rows", document))
            return found.frames if found else {}
        held, given = self._versions.get(("held", document)), self._versions.get(("rows", document))
        if held and given and given.part > held.part:
            return None
        return held.frames if held else {}


def _outcome(url: str, ref: TableRef, batch_id: str, document_id: str | None) -> str:
    """Return `loaded`, `refused` again, or `outdated` when bronze holds a later read of the document."""
    if document_id is None:
        return "refused"
    with database.connect(url) as connection, connection.cursor() as cursor:
        if rejects.holds(cursor, ref.key, batch_id, document_id):
            return "refused"
        name = relations.of_table(cursor, ref.key)[ROOT]
        found = Postgres(cursor).rows(name, (), child=False, ids=[document_id])
    return "loaded" if any(row.batch_id == batch_id for row in found.values()) else "outdated"
