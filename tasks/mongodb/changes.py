"""Following a change stream: which documents changed since a position, read as they are now.

The stream tells keys only. The documents themselves are read afterwards by `_id`, in raw batches, with the table's
filter and projection. So an event is never too large for the server's 16 MB, a document that left the filter is found
missing and counts as deleted, and one decoder sees every document. A later event of the same document is read again
with the next batch, so the end state is always the source's.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import bson
import polars as pl
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.raw_bson import RawBSONDocument
from bson.timestamp import Timestamp
from pymongo.change_stream import ChangeStream
from pymongo.client_session import ClientSession
from pymongo.errors import OperationFailure

from tasks.errors import ResumeTokenLost, SourceError
from tasks.landing.keys import key_texts
from tasks.mongodb.values import freeze, thaw
from tasks.sources import TableRef

if TYPE_CHECKING:
    from tasks.landing.lander import Lander
    from tasks.mongodb.extract import Reader

# One landed batch holds the changed documents of at most so many events: their keys are held in memory.
BATCH_EVENTS = 100_000
# Ids per look-up: the query stays far below 16 MB even with long keys.
_LOOKUP_IDS = 2_000
# How long the server waits for a new event before it answers "none": the cost of finding out that we are at the end.
_AWAIT_MS = 300
# A position that moves on without events means that the server is scanning what others write, which may never end. So
# many waits are enough to be past what was written before the run, and the next run goes on from the moved position.
_EMPTY_ROUNDS = 10
# ChangeStreamHistoryLost, ChangeStreamFatalError, InvalidResumeToken, and what unknown or damaged tokens give.
_LOST_CODES = {286, 280, 260, 50811, 40647, 9}
EVERY = ""
"""Stands for every collection of the database in `Changes.ended`; no collection has an empty name."""
# Later than any logical time: nothing of a collection counts that no table reads.
_NEVER = [1 << 32, 0]
_EXACT: CodecOptions[RawBSONDocument] = CodecOptions(
    document_class=RawBSONDocument, datetime_conversion=DatetimeConversion.DATETIME_MS, tz_aware=True
)


@dataclass
class Changes:
    """The changed keys of one batch and the position after them.

    Attributes:
        state: The checkpoint's state after the batch.
        keys: By collection, the `_id` of each changed document as BSON, in the order of first change.
        events: By collection, the number of events behind them.
        ended: By collection, what ended it and when: it has to be read anew. `EVERY` is all of the database.
        caught_up: Whether the end of the stream was reached.
    """

    state: dict[str, Any]
    keys: dict[str, dict[bytes, None]] = field(default_factory=lambda: defaultdict(dict))
    events: Counter[str] = field(default_factory=Counter)
    ended: dict[str, tuple[str, list[int]]] = field(default_factory=dict)
    caught_up: bool = False

    def ending(self, collection: str, since: list[int]) -> str | None:
        """Return what ended a collection after a position, such as `drop`, or None."""
        for name in (collection, EVERY):
            operation, at = self.ended.get(name, ("", [0, 0]))
            if at > since:
                return operation
        return None


def start_state(reader: Reader) -> dict[str, Any]:
    """Return the position of now, before anything is read.

    Raises:
        SourceError: The server has no logical time: it is no replica set.
    """
    if not reader.shares_stream:
        with reader.session() as session, _watch(reader, session, None) as stream:
            if stream.resume_token is None:
                stream.try_next()
            return _state(reader, stream.resume_token, _pair(session.operation_time))
    at = reader.now()
    if at is None:
        raise SourceError("mode cdc needs a replica set", reader.ref.name, "start one, or use mode incremental")
    # A time, not a token: positions of several tables have an order by which one stream can begin at the oldest.
    return {"stream": "database", "collection": reader.collection.name, "cluster_time": _pair(at)}


def next_changes(
    reader: Reader,
    state: dict[str, Any],
    until: Timestamp | None,
    deadline: float,
    positions: dict[str, list[int]],
    most: int,
) -> Changes:
    """Collect changed keys from `state` on, up to `until`, the end of the stream, a full batch, or the deadline.

    Args:
        reader: The open table.
        state: Position to start from.
        until: Logical time to stop at, or a collection that never rests would hold the run for ever.
        deadline: Monotonic time to stop at.
        positions: The collections wanted, with the logical time from which on each one's events count.
        most: Stop after so many events.

    Raises:
        ResumeTokenLost: The server no longer holds the position.
        SourceError: The stream went back in time.
    """
    found = Changes(state)
    limit = min(BATCH_EVENTS, most)
    token, at, empty = None, state["cluster_time"], 0
    with reader.session() as session, _watch(reader, session, state) as stream:
        while True:
            before = stream.resume_token
            event = stream.try_next()
            full = found.events.total() >= limit or time.monotonic() > deadline
            if event is None:
                empty += 1
                token = stream.resume_token
                found.caught_up = token == before or empty >= _EMPTY_ROUNDS
                if found.caught_up or full:
                    break
                continue
            time_ = _pair(event["clusterTime"])
            _never_back(reader, at, time_)
            found.caught_up = until is not None and event["clusterTime"] > until
            # Events of one transaction have one time, and stay together: so a time is a position.
            if found.caught_up or (full and time_ > at):
                break
            token, at = stream.resume_token, time_
            if _take(reader, event, found, positions):
                break
            if reader.context.progress:
                reader.context.progress(0)
    if token is not None:
        found.state = _state(reader, token, at)
    return found


def land_changes(reader: Reader, keys: list[bytes], lander: Lander) -> None:
    """Read the changed documents as they are now; those that are gone land as deletes."""
    ids = [RawBSONDocument(key, _EXACT)["_id"] for key in keys]
    present: list[pl.Series] = []

    def remember(frame: pl.DataFrame) -> pl.DataFrame:
        present.append(frame["_id"])
        return frame

    lander.keep = remember
    for start in range(0, len(ids), _LOOKUP_IDS):
        for raw in reader.find({"_id": {"$in": ids[start : start + _LOOKUP_IDS]}}):
            lander.push(raw)
    lander.flush()
    lander.keep = None
    landed = set(pl.concat(present).to_list()) if present else set()
    absent = [index for index, text in enumerate(key_texts(b"".join(keys))) if text not in landed]
    for index in _confirmed(reader, ids, absent):
        lander.push_delete(keys[index])


def _confirmed(reader: Reader, ids: list[Any], absent: list[int]) -> list[int]:
    """Return those of `absent` that the server does not have: a rejected document is there, and not deleted."""
    gone: list[int] = []
    for start in range(0, len(absent), _LOOKUP_IDS):
        chunk = absent[start : start + _LOOKUP_IDS]
        query = {"_id": {"$in": [ids[index] for index in chunk]}}
        raw = b"".join(reader.find(query, projection={"_id": 1}))
        there = set(key_texts(raw))
        texts = key_texts(b"".join(_encode(ids[index]) for index in chunk))
        gone += [index for index, text in zip(chunk, texts, strict=True) if text not in there]
    return gone


def _take(reader: Reader, event: Any, found: Changes, positions: dict[str, list[int]]) -> bool:
    """Add one event; return True when the stream ends with it."""
    operation, at = event["operationType"], _pair(event["clusterTime"])
    if operation in ("drop", "rename"):
        for namespace in (event["ns"], event.get("to", {})):
            if "coll" in namespace:
                found.ended[namespace["coll"]] = (operation, at)
        return not reader.shares_stream
    if operation in ("dropDatabase", "invalidate"):
        found.ended[EVERY] = (operation, at)
        return operation == "invalidate" or not reader.shares_stream
    collection = event["ns"]["coll"]
    if "documentKey" in event and at >= positions.get(collection, _NEVER):
        found.events[collection] += 1
        found.keys[collection][_encode(event["documentKey"]["_id"])] = None
    return False


def _encode(key: Any) -> bytes:
    return bson.encode({"_id": key}, codec_options=_EXACT.with_options(document_class=dict))


@contextmanager
def _watch(reader: Reader, session: ClientSession, state: dict[str, Any] | None) -> Iterator[ChangeStream[Any]]:
    """Open the stream after a position, or at now when there is none."""
    collection = reader.collection.with_options(codec_options=_EXACT)
    target = collection.database.with_options(codec_options=_EXACT) if reader.shares_stream else collection
    try:
        with target.watch(
            [{"$project": {"fullDocument": 0, "fullDocumentBeforeChange": 0, "updateDescription": 0}}],
            max_await_time_ms=_AWAIT_MS,
            session=session,
            **_start(reader, state),
        ) as stream:
            yield stream
    except OperationFailure as error:
        if state is None or error.code not in _LOST_CODES:
            raise
        raise lost(reader.ref, error.code) from error


def _start(reader: Reader, state: dict[str, Any] | None) -> dict[str, Any]:
    """Return the stream's option for a position; a token of a stream of the other kind is not for this one."""
    if state is None:
        return {}
    if "resume_token" in state and (state.get("stream") == "database") == reader.shares_stream:
        # startAfter, not resumeAfter: it also goes on after an invalidate.
        return {"start_after": thaw(state["resume_token"])}
    return {"start_at_operation_time": Timestamp(*state["cluster_time"])}


def lost(ref: TableRef, code: int | None) -> ResumeTokenLost:
    """Return the error of a table whose position the server no longer holds."""
    return ResumeTokenLost(
        f"the change stream cannot be resumed (code {code}): the server's oplog no longer holds the position",
        ref.name,
        "changes since then are unknown: set on_lost_token: resnapshot to read all again and find deletes, "
        f"or run `warehouse reset {ref.name}`; a longer oplog or more frequent runs prevent it",
    )


def _state(reader: Reader, token: Any, at: list[int]) -> dict[str, Any]:
    kind = {"stream": "database"} if reader.shares_stream else {}
    return {
        **kind,
        "collection": reader.collection.name,
        "resume_token": freeze(dict(token or {})),
        "cluster_time": at,
    }


def _pair(at: Timestamp | None) -> list[int]:
    return [at.time, at.inc] if at is not None else [0, 0]


def _never_back(reader: Reader, before: list[int], after: list[int]) -> None:
    """https://github.com/airbytehq/airbyte/issues/69102: a position that moved back lost rows in a green run."""
    if after < before:
        raise SourceError(
            f"the change stream went back in time, from {before} to {after}",
            reader.ref.name,
            f"run `warehouse reset {reader.ref.name}`, and report it to the server's vendor",
        )
