"""Rejected documents and rows: listing, showing, and loading them after a rule or a schema was mended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl
import psycopg
from psycopg import sql

from tasks import database
from tasks.bronze import ddl
from tasks.bronze.load import REPLAY, load_batch
from tasks.bronze.pending import pending
from tasks.bronze.registry import relation_for
from tasks.bronze.stage import normal_keys
from tasks.errors import LoadError
from tasks.landing import Landing, Manifest
from tasks.landing.manifest import Segment
from tasks.settings import Settings
from tasks.sources import TableRef


@dataclass(frozen=True)
class Reject:
    """One rejected document or row.

    Attributes:
        stage: `extract` when it could not be decoded, `load` when Postgres refused it.
        document: Extended JSON, as far as it could be read.
        bytes: The original, where it came as bytes.
        outcome: What the last replay said, if there was one.
    """

    id: int
    source: str
    table_name: str
    batch_id: str
    stage: str
    document_id: str | None
    path: str | None
    reason: str
    document: str | None
    bytes: bytes | None
    seen_at: datetime
    replayed_at: datetime | None
    outcome: str | None


@dataclass(frozen=True)
class Replayed:
    """What a replay did: rejects that are in bronze now, that were replaced by a later read, and still refused."""

    loaded: int
    outdated: int
    refused: int


_COLUMNS = (
    "id, source, table_name, batch_id, stage, document_id, path, reason, document, bytes, seen_at, replayed_at, outcome"
)


def find(
    connection: psycopg.Connection[Any],
    source: str | None = None,
    table_name: str | None = None,
    *,
    ids: Sequence[int] = (),
    waiting: bool = False,
    limit: int = 1_000,
) -> list[Reject]:
    """Return rejects, newest first.

    Args:
        connection: Any.
        source: Only this source.
        table_name: Only this table.
        ids: Only these.
        waiting: Only those that no replay has brought in.
        limit: Most rejects returned.
    """
    rows = connection.execute(
        f"""
        select {_COLUMNS} from ops.rejects
        where (%(source)s::text is null or source = %(source)s)
          and (%(table)s::text is null or table_name = %(table)s)
          and (cardinality(%(ids)s::bigint[]) = 0 or id = any(%(ids)s))
          and not (%(waiting)s and coalesce(outcome, '') in ('loaded', 'outdated'))
        order by id desc limit %(limit)s
        """,  # noqa: S608 - only the constant above is put in
        {"source": source, "table": table_name, "ids": list(ids), "waiting": waiting, "limit": limit},
    ).fetchall()
    return [Reject(*row) for row in rows]


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
        database.ensure_ops(connection)
        found = find(connection, ref.source_name, ref.table_name, ids=ids, waiting=not ids, limit=1_000_000)
    by_batch: dict[str, list[Reject]] = {}
    for reject in found:
        by_batch.setdefault(reject.batch_id, []).append(reject)
    outcomes: dict[int, str] = {}
    for _, rejects in sorted(by_batch.items()):
        outcomes |= _replay_batch(url, landing, ref, rejects)
    _note(url, outcomes)
    counts = list(outcomes.values())
    return Replayed(counts.count("loaded"), counts.count("outdated"), counts.count("refused"))


def _replay_batch(url: str, landing: Landing, ref: TableRef, rejects: Sequence[Reject]) -> dict[int, str]:
    """Land and load the rejects of one batch again; return the outcome of each."""
    place = (ref.source_name, ref.table_name)
    batch_id = rejects[0].batch_id
    if batch_id not in landing.batches(*place):
        return {reject.id: "refused" for reject in rejects}
    manifest = landing.manifest(*place, batch_id)
    again = _next_id(landing, ref, batch_id)
    keys: dict[int, str] = {}
    with landing.writer(*place, again) as writer:
        statistics: dict[str, Any] = {"": {"rows": 0, "fields": {}}}
        for reject in rejects:
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
        landing.delete(*place, again)
        return {reject.id: "refused" for reject in rejects}
    landed = _commit(landing, manifest, again, segment)
    load_batch(url, landing, landed, ref.table)
    return {reject.id: _outcome(url, ref, again, keys.get(reject.id)) for reject in rejects}


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


def _outcome(url: str, ref: TableRef, batch_id: str, key: str | None) -> str:
    """Return `loaded`, `refused` again, or `outdated` when bronze holds a later read of the document."""
    if key is None:
        return "refused"
    place = (ref.source_name, ref.table_name)
    with database.connect(url) as connection, connection.cursor() as cursor:
        name = relation_for(cursor, *place, "")
        row = cursor.execute(
            sql.SQL(
                "select exists (select from {} where _id = %s and _batch_id = %s), exists (select from ops.rejects"
                " where (source, table_name, batch_id, document_id) = (%s, %s, %s, %s))"
            ).format(ddl.relation(name)),
            [key, batch_id, *place, batch_id, key],
        ).fetchone()
    loaded, refused = row or (False, False)
    return "refused" if refused else "loaded" if loaded else "outdated"


def _note(url: str, outcomes: dict[int, str]) -> None:
    with database.connect(url) as connection, connection.cursor() as cursor:
        cursor.executemany(
            "update ops.rejects set replayed_at = now(), outcome = %s where id = %s",
            [(outcome, number) for number, outcome in outcomes.items()],
        )
        connection.commit()
