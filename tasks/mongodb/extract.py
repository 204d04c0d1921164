"""Extraction of one MongoDB table: plan, read, land; every mode ends in batches with the checkpoint they lead to."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from bson.raw_bson import RawBSONDocument
from bson.timestamp import Timestamp
from pymongo import MongoClient
from pymongo.client_session import ClientSession
from pymongo.collection import Collection
from pymongo.errors import OperationFailure

from tasks.errors import LandingError, ResumeTokenLost, SourceError
from tasks.extract import ExtractContext, ExtractMetrics, ExtractResult
from tasks.landing import BatchKey, BatchPlan, Landing, Manifest, Segment, new_batch_id
from tasks.landing.lander import Lander
from tasks.landing.manifest import Origin
from tasks.mongodb import changes, incremental, ranges
from tasks.mongodb.batches import RawBatches
from tasks.mongodb.client import connect, named_errors, open_collection, plain
from tasks.mongodb.config import MongoRef, MongoSource, MongoTable
from tasks.mongodb.origin import origin_of
from tasks.mongodb.reading import BATCH_DOCUMENTS, RateLimit, land_batches
from tasks.mongodb.shared import Share, SharedStream
from tasks.mongodb.values import describe, freeze, thaw
from tasks.overlap import read_ahead

# A range that is lost to a crash is read again, so none should take longer than a few minutes to read.
RANGE_BYTES = 1 << 30
# More ranges than this cost more in planning than they save in re-reading.
MOST_RANGES = 4_096


@dataclass
class Reader:
    """One table being read: the open collection and what the run knows about it."""

    ref: MongoRef
    context: ExtractContext
    client: MongoClient[RawBSONDocument]
    collection: Collection[RawBSONDocument]
    collection_type: str
    # The server's logical time that every read must have reached: no member may answer with less than was seen.
    seen: Timestamp | None = None
    warnings: list[str] = field(default_factory=list)

    @property
    def table(self) -> MongoTable:
        """The table's configuration."""
        return self.ref.table

    @property
    def source(self) -> MongoSource:
        """The source's configuration."""
        return self.ref.source

    @property
    def shares_stream(self) -> bool:
        """Whether the change stream is the database's, for all its tables, or the collection's own."""
        return self.source.change_stream == "database"

    @property
    def landing(self) -> Landing:
        """Where batches go."""
        return self.context.landing

    @contextmanager
    def session(self) -> Iterator[ClientSession]:
        """Open a causally consistent session, for one thread: a member that lags is waited for.

        What is read in it moves `seen`, so that no later read sees less. A position that was taken on one member, such
        as the newest cursor value, is thus never past what the documents are then read from.
        """
        with self.client.start_session(causal_consistency=True) as session:
            if self.seen is not None:
                session.advance_operation_time(self.seen)
            yield session
            self.seen = max(filter(None, (self.seen, session.operation_time)), default=None)

    @cached_property
    def origin(self) -> Origin:
        """What is read from."""
        is_collection = self.collection_type == "collection"
        return origin_of(self.collection, self.table.cursor) if is_collection else Origin()

    def now(self) -> Timestamp | None:
        """Return the primary's logical time: all that was written before is seen by what is read from here on."""
        with self.session() as session:
            self.client.admin.command("ping", session=session)
        return self.seen

    def find(self, query: dict[str, Any], **options: Any) -> Iterator[bytes]:
        """Yield raw batches of the documents that match the query and the table's own filter."""
        rate = self.source.documents_per_second
        # max_time_ms of find() covers the server's work of the whole cursor, not the client's pauses.
        with (
            self.session() as session,
            RawBatches(
                self.collection,
                ranges.all_of(self.table.filter, query),
                batch_size=min(BATCH_DOCUMENTS, max(rate, 1)) if rate else BATCH_DOCUMENTS,
                max_time_ms=self.source.max_time_ms,
                session=session,
                **({"projection": projection_of(self.table)} | options),
            ) as cursor,
        ):
            yield from cursor


def projection_of(table: MongoTable) -> dict[str, int] | None:
    """Return the projection that leaves unwanted fields at the server."""
    if table.fields.include:
        cursor = (table.cursor,) if table.cursor else ()
        return dict.fromkeys(_outermost(("_id", *cursor, *table.fields.include)), 1)
    return dict.fromkeys(_outermost(table.fields.exclude), 0) or None


def _outermost(paths: Sequence[str]) -> list[str]:
    """Return the paths that lie in no other one: MongoDB refuses a projection of both."""
    return [path for path in paths if not any(path.startswith(f"{other}.") for other in paths)]


def extract_table(ref: MongoRef, context: ExtractContext) -> ExtractResult:
    """Read what is new in one collection and land it.

    A snapshot whose process died goes on where it stopped: ranges that were read stay read.

    Raises:
        SourceError: The collection could not be read; the checkpoint stays where it was.
        LandingError: The landing could not be written.
    """
    with _reader(ref, context) as reader:
        if context.segment is not None:
            return _read_one_segment(reader)
        if reader.table.mode == "cdc":
            return _extract_cdc(reader)
        if reader.table.mode == "incremental":
            return _extract_incremental(reader)
        return _result(reader, [_snapshot(reader, {})])


def plan_batch(ref: MongoRef, context: ExtractContext) -> tuple[str, int]:
    """BatchPlan a snapshot that several processes will read, one range each.

    Returns:
        The batch id and the number of segments.
    """
    with _reader(ref, context) as reader:
        window = incremental.plan_window(reader) if reader.table.mode == "incremental" else None
        state = changes.start_state(reader) if reader.table.mode == "cdc" else (window.state if window else {})
        batch_id, plan = _resume(reader) or _plan(reader, state, window)
        return batch_id, len(plan.ranges)


def join_batch(ref: MongoRef, context: ExtractContext) -> ExtractResult:
    """Commit a batch whose segments were read by several processes.

    Raises:
        LandingError: A segment is missing.
    """
    with _reader(ref, context) as reader:
        assert context.batch_id is not None  # noqa: S101  the caller planned it
        plan = reader.landing.plan(ref.source_name, ref.table_name, context.batch_id)
        return _result(reader, [_commit(reader, context.batch_id, plan)])


# -- modes ------------------------------------------------------------------------------------------------------


def _extract_incremental(reader: Reader) -> ExtractResult:
    """Read documents whose cursor has moved on, and sweep for deleted ones."""
    window = incremental.plan_window(reader)
    manifest: Manifest | None = None
    if window is not None and not reader.context.state:
        manifest = _snapshot(reader, window.state, window)
    elif window is not None:
        manifest = _read_window(reader, window)
    elif reader.table.deletes == "sweep":
        manifest = _sweep_alone(reader)
    return _result(reader, [manifest] if manifest else [])


def _read_window(reader: Reader, window: incremental.Window) -> Manifest | None:
    extracted_at, source_time = datetime.now(UTC), server_time(reader)
    batch_id = new_batch_id(extracted_at)
    batch = BatchKey(*reader.ref.key, batch_id)
    known = reader.context.state.get("boundary", [])
    boundary = incremental.Boundary(window.cursor, window.next_lower, known)
    with reader.landing.writer(*batch) as writer:
        lander = _lander(reader, writer)
        lander.keep = boundary.keep
        options = {"hint": reader.table.hint} if reader.table.hint else {}
        land_batches(lander, reader.find(window.filter, **options), RateLimit(reader.source.documents_per_second))
        if reader.table.deletes == "sweep":
            _write_ids(reader, lander)
        segment = lander.finish()
    state = window.state | boundary.state()
    if not segment.parts and state == reader.context.state:
        return None
    return reader.landing.commit(
        *batch,
        [segment],
        **_common(reader, state),
        window=window.described(),
        extracted_at=extracted_at,
        source_time=source_time,
    )


def _sweep_alone(reader: Reader) -> Manifest:
    """Land the complete list of ids when nothing else is to be read."""
    extracted_at = datetime.now(UTC)
    batch = BatchKey(*reader.ref.key, new_batch_id(extracted_at))
    with reader.landing.writer(*batch) as writer:
        lander = _lander(reader, writer)
        _write_ids(reader, lander)
        segment = lander.finish()
    return reader.landing.commit(*batch, [segment], **_common(reader, reader.context.state), extracted_at=extracted_at)


def _extract_cdc(reader: Reader) -> ExtractResult:
    """Take a snapshot when there is none, then follow the change stream up to now."""
    if reader.collection_type != "collection":
        raise SourceError(
            f"mode cdc cannot follow a {reader.collection_type}: change streams do not tell of it",
            reader.ref.name,
            "use mode full or incremental, or read the collection behind it",
        )
    manifests: list[Manifest] = []
    shared = reader.context.shared
    assert shared is None or isinstance(shared, SharedStream)  # noqa: S101  the connector's share() gave it
    if not reader.context.state:
        # The start point is taken before the snapshot, so that nothing falls between the two.
        manifests.append(_snapshot(reader, changes.start_state(reader)))
    try:
        share = shared.changes_of(reader) if shared is not None and not manifests else None
        if share is not None:
            drained, ending = _land_share(reader, share)
        else:
            drained, ending = _drain(reader, manifests[-1].checkpoint if manifests else reader.context.state)
        manifests += drained
        if ending:
            reader.warnings.append(f"{reader.ref.name}: the collection saw {ending}; it is read anew")
    except ResumeTokenLost:
        if reader.table.on_lost_token == "fail":  # noqa: S105  a policy's name, no password
            raise
        reader.warnings.append(f"{reader.ref.name}: the change stream was lost; all is read again, deletes included")
        ending = "lost"
    if ending:
        manifests.append(_snapshot(reader, changes.start_state(reader)))
    return _result(reader, manifests)


def _drain(reader: Reader, state: dict[str, Any]) -> tuple[list[Manifest], str | None]:
    """Land the changes since `state` in batches.

    Returns:
        The batches, and what ended the collection, such as `drop`: then it must be read anew.
    """
    manifests: list[Manifest] = []
    events, deadline = 0, time.monotonic() + reader.table.max_seconds
    until, name = reader.now(), reader.collection.name
    while events < reader.table.max_events and time.monotonic() < deadline:
        left = reader.table.max_events - events
        found = changes.next_changes(reader, state, until, deadline, {name: state["cluster_time"]}, left)
        ending = found.ending(name, state["cluster_time"])
        if ending:
            return manifests, ending
        if found.keys[name] or found.state != state:
            manifests.append(_land_changes(reader, list(found.keys[name]), found.state, state))
        state, events = found.state, events + found.events[name]
        if found.caught_up:
            break
    return manifests, None


def _land_share(reader: Reader, share: Share) -> tuple[list[Manifest], str | None]:
    """Land this table's share of the database's change stream; see `_drain`."""
    if share.ending:
        return [], share.ending
    manifests: list[Manifest] = []
    state = reader.context.state
    for keys, after in share.steps():
        if keys or after != state:
            manifests.append(_land_changes(reader, keys, after, state))
        state = after
    return manifests, None


def _land_changes(reader: Reader, keys: list[bytes], state: dict[str, Any], before: dict[str, Any]) -> Manifest:
    extracted_at, source_time = datetime.now(UTC), server_time(reader)
    batch = BatchKey(*reader.ref.key, new_batch_id(extracted_at))
    with reader.landing.writer(*batch) as writer:
        lander = _lander(reader, writer, with_op=True)
        changes.land_changes(reader, keys, lander)
        segment = lander.finish()
    return reader.landing.commit(
        *batch,
        [segment],
        **_common(reader, state) | {"previous_checkpoint": before},
        window={"from": describe_position(before), "to": describe_position(state)},
        extracted_at=extracted_at,
        source_time=source_time,
    )


# -- snapshots --------------------------------------------------------------------------------------------------


def _snapshot(reader: Reader, state: dict[str, Any], window: incremental.Window | None = None) -> Manifest:
    """Read everything, range by range, going on with an unfinished batch of the same plan.

    Args:
        reader: The open table.
        state: The checkpoint's state after it.
        window: The first window of an incremental table; None when the rows are the whole table.
    """
    unfinished = _resume(reader)
    batch_id, plan = unfinished or _plan(reader, state, window)
    done = reader.landing.segments(reader.ref.source_name, reader.ref.table_name, batch_id)
    missing = [index for index in range(len(plan.ranges)) if index not in done]
    side_by_side = min(reader.table.partitions or 1, 4)
    if side_by_side > 1 and len(missing) > 1:
        with ThreadPoolExecutor(max_workers=side_by_side, thread_name_prefix="range") as pool:
            share = reader.context.memory_bytes // side_by_side
            list(pool.map(lambda index: _read_range(reader, batch_id, plan, index, share), missing))
    else:
        for index in missing:
            _read_range(reader, batch_id, plan, index, reader.context.memory_bytes)
    return _commit(reader, batch_id, plan)


def _plan_key(reader: Reader) -> dict[str, Any]:
    """Return all that must be unchanged for an unfinished batch to be continued."""
    return {
        "mode": reader.table.mode,
        "collection": reader.collection.name,
        "fingerprint": f"{reader.table.fingerprint():016x}",
        "filter": freeze(reader.table.filter),
        "cursor": reader.table.cursor,
        "partitions": reader.table.partitions,
        "from": reader.context.state,
    }


def _resume(reader: Reader) -> tuple[str, BatchPlan] | None:
    """Return the newest unfinished batch with the same plan key, if any.

    A full table has nothing that tells what changed since; where one range is all, it is read anew.
    """
    for batch_id in reversed(reader.landing.unfinished(*reader.ref.key)):
        plan = reader.landing.plan(*reader.ref.key, batch_id)
        saves = len(plan.ranges) > 1 or reader.table.mode != "full"
        if saves and plan.key == _plan_key(reader):
            reader.warnings.append(f"{reader.ref.name}: went on with batch {batch_id}, which an earlier run began")
            return batch_id, plan
    return None


def _plan(reader: Reader, state: dict[str, Any], window: incremental.Window | None) -> tuple[str, BatchPlan]:
    """Split the collection into `_id` ranges and write the plan before anything is read."""
    # Where one range is asked for, so is not the size, for which some servers count all documents.
    by_size = 1 if reader.table.one_range else min(_collection_bytes(reader) // RANGE_BYTES + 1, MOST_RANGES)
    count = max(reader.table.partitions or 1, by_size)
    points = ranges.split_points(reader.collection, count, reader.table.filter) if count > 1 else []
    bounds: list[str | None] = [None, *points, None]
    extracted_at = datetime.now(UTC)
    plan = BatchPlan(
        key=_plan_key(reader),
        ranges=[list(pair) for pair in itertools.pairwise(bounds)],
        state={
            "checkpoint": state,
            "query": freeze(window.filter if window else {}),
            "next_lower": freeze(window.next_lower) if window else None,
        },
        extracted_at=extracted_at,
        source_time=server_time(reader),
    )
    batch_id = new_batch_id(extracted_at)
    reader.landing.write_plan(reader.ref.source_name, reader.ref.table_name, batch_id, plan)
    return batch_id, plan


def _read_range(reader: Reader, batch_id: str, plan: BatchPlan, index: int, memory_bytes: int) -> Segment:
    """Read one range of a plan and record it."""
    batch = BatchKey(*reader.ref.key, batch_id)
    low, high = plan.ranges[index]
    query = thaw(plan.state["query"])
    within = ranges.range_filter(low, high)
    # A whole collection is read in storage order, the fastest; a range by the _id index.
    options: dict[str, Any] = {"hint": {"_id": 1}} if within and reader.collection_type == "collection" else {}
    if reader.table.mode == "full" and reader.table.hint and not within:
        options = {"hint": reader.table.hint}
    with reader.landing.writer(*batch, index) as writer, named_errors(reader.ref):
        lander = _lander(reader, writer, memory_bytes=memory_bytes)
        boundary = _first_boundary(reader, plan)
        lander.keep = boundary.keep if boundary else None
        documents = reader.find(ranges.all_of(query, within), **options)
        land_batches(lander, documents, RateLimit(reader.source.documents_per_second))
        if index == 0 and reader.table.deletes == "sweep":
            _write_ids(reader, lander)
        return lander.finish(boundary.state if boundary else dict)


def _first_boundary(reader: Reader, plan: BatchPlan) -> incremental.Boundary | None:
    """Return the memory of the newest rows, so that the next incremental run does not land them again."""
    if plan.state["next_lower"] is None or reader.table.cursor is None:
        return None
    return incremental.Boundary(reader.table.cursor, thaw(plan.state["next_lower"]))


def _read_one_segment(reader: Reader) -> ExtractResult:
    """Read the range that this process was given; the join commits the batch."""
    assert reader.context.segment is not None and reader.context.batch_id is not None  # noqa: S101  set together
    index, _ = reader.context.segment
    batch = BatchKey(*reader.ref.key, reader.context.batch_id)
    done = reader.landing.segments(*batch).get(index)
    segment = done or _read_range(
        reader, reader.context.batch_id, reader.landing.plan(*batch), index, reader.context.memory_bytes
    )
    return ExtractResult(None, ExtractMetrics.of([segment]), tuple(reader.warnings))


def _commit(reader: Reader, batch_id: str, plan: BatchPlan) -> Manifest:
    batch = BatchKey(*reader.ref.key, batch_id)
    segments = reader.landing.segments(*batch)
    missing = [index for index in range(len(plan.ranges)) if index not in segments]
    if missing:
        raise LandingError(
            f"{len(missing)} of {len(plan.ranges)} ranges of the batch were not read",
            f"{reader.ref.name}, batch {batch_id}, ranges {missing[:10]}",
            "run the extract again: it reads the missing ranges only",
        )
    is_whole = plan.state["next_lower"] is None
    seen = [row for segment in segments.values() for row in segment.state.get("boundary", [])]
    remembered = all("boundary" in segment.state for segment in segments.values())
    boundary = {} if is_whole or not remembered else incremental.boundary_state(seen)
    return reader.landing.commit(
        *batch,
        segments.values(),
        **_common(reader, plan.state["checkpoint"] | boundary),
        scope={"type": "snapshot" if is_whole else "upsert"},
        window={"from": None, "to": describe_position(plan.state["checkpoint"])},
        extracted_at=plan.extracted_at,
        source_time=plan.source_time,
    )


# -- helpers ----------------------------------------------------------------------------------------------------


@contextmanager
def _reader(ref: MongoRef, context: ExtractContext) -> Iterator[Reader]:
    """Open a table for reading; the client is closed at the end and errors get our names."""
    client = connect(ref.source)
    try:
        with named_errors(ref):
            collection, kind = open_collection(client, ref)
            reader = Reader(ref, context, client, collection, kind)
            reader.now()
            yield reader
    finally:
        client.close()


def _lander(reader: Reader, writer: Any, with_op: bool = False, memory_bytes: int | None = None) -> Lander:
    return Lander(
        writer,
        reader.table,
        memory_bytes or reader.context.memory_bytes,
        with_op=with_op,
        documents=reader.table.document,
        progress=reader.context.progress,
    )


def _write_ids(reader: Reader, lander: Lander) -> None:
    """Land the complete list of ids, read from the `_id` index alone."""
    options = {"hint": {"_id": 1}} if reader.collection_type == "collection" and not reader.table.filter else {}
    lander.write_ids(read_ahead(reader.find({}, projection={"_id": 1}, **options)))


def server_time(reader: Reader) -> datetime | None:
    """Return the server's clock, where it tells."""
    local = plain(reader.collection).database.command("hello").get("localTime")
    return local.replace(tzinfo=UTC) if isinstance(local, datetime) and local.tzinfo is None else local


def _collection_bytes(reader: Reader) -> int:
    """Return the data size in bytes; 0 where the server does not say (views, odd engines): one range."""
    if reader.collection_type != "collection":
        return 0
    try:
        stats = plain(reader.collection).database.command("collStats", reader.collection.name)
    except OperationFailure:
        return 0
    return int(stats.get("size", 0))


def describe_position(state: dict[str, Any]) -> str | None:
    """Return a checkpoint's position for manifest and report."""
    if "cursor" in state:
        return describe(thaw(state["cursor"]))
    if "cluster_time" in state:
        return datetime.fromtimestamp(state["cluster_time"][0], UTC).isoformat()
    return None


def _common(reader: Reader, state: dict[str, Any]) -> dict[str, Any]:
    return {
        "mode": reader.table.mode,
        "checkpoint": state,
        "previous_checkpoint": reader.context.state,
        "origin": reader.origin,
        "fingerprint": f"{reader.table.fingerprint():016x}",
        "flow_run_id": reader.context.flow_run_id,
    }


def _result(reader: Reader, manifests: list[Manifest]) -> ExtractResult:
    last = manifests[-1] if manifests else None
    return ExtractResult(last, ExtractMetrics.of(manifests), tuple(reader.warnings))
