"""Following a change stream: which documents changed since a position, read as they are now.

The stream tells keys only. The documents themselves are read afterwards by `_id`, in raw batches, with the table's
filter and projection. So an event is never too large for the server's 16 MB, a document that left the filter is found
missing and counts as deleted, and one decoder sees every document. A later event of the same document is read again
with the next batch, so the end state is always the source's.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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
from tasks.mongodb.decoder import make_decoder
from tasks.mongodb.values import freeze, thaw

if TYPE_CHECKING:
    from tasks.mongodb.extract import Reader
    from tasks.mongodb.reading import Lander

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
_ENDINGS = {"drop", "rename", "dropDatabase", "invalidate"}
_EXACT: CodecOptions[RawBSONDocument] = CodecOptions(
    document_class=RawBSONDocument, datetime_conversion=DatetimeConversion.DATETIME_MS, tz_aware=True
)


@dataclass
class Changes:
    """The changed keys of one batch and the position after them.

    Attributes:
        keys: The `_id` of each changed document, by its BSON, in the order of first change.
        events: Number of events behind them.
        state: The checkpoint's state after the batch.
        caught_up: Whether the end of the stream was reached.
        invalidated: Whether the collection was dropped or renamed: it has to be read anew.
    """

    keys: dict[bytes, Any]
    events: int
    state: dict[str, Any]
    caught_up: bool = False
    invalidated: bool = False


def start_state(reader: Reader) -> dict[str, Any]:
    """Return the position of now, before anything is read."""
    with reader.session() as session, _watch(reader, session, None) as stream:
        if stream.resume_token is None:
            stream.try_next()
        return _state(stream, session.operation_time)


def next_changes(reader: Reader, state: dict[str, Any], until: Timestamp | None, deadline: float) -> Changes:
    """Collect changed keys from `state` on, up to `until`, the end of the stream, a full batch, or the deadline.

    Args:
        reader: The open table.
        state: Position to start from.
        until: Logical time to stop at, or a collection that never rests would hold the run for ever.
        deadline: Monotonic time to stop at.

    Raises:
        ResumeTokenLost: The server no longer holds the position.
        SourceError: The stream went back in time.
    """
    found = Changes({}, 0, state)
    limit = min(BATCH_EVENTS, reader.table.max_events)
    empty = 0
    with reader.session() as session, _watch(reader, session, state) as stream:
        while found.events < limit and time.monotonic() < deadline:
            token = stream.resume_token
            event = stream.try_next()
            if event is None:
                empty += 1
                found.state = _state(stream, Timestamp(*found.state["cluster_time"]))
                if stream.resume_token == token or empty >= _EMPTY_ROUNDS:
                    found.caught_up = True
                    break
                continue
            found.events += 1
            if _take(reader, event, found):
                break
            found.state = _state(stream, event["clusterTime"])
            _never_back(reader, state, found.state)
            if until is not None and event["clusterTime"] > until:
                found.caught_up = True
                break
    return found


def land_changes(reader: Reader, found: Changes, lander: Lander) -> None:
    """Read the changed documents as they are now; those that are gone land as deletes."""
    keys = list(found.keys)
    ids = list(found.keys.values())
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
    absent = [index for index, text in enumerate(_key_texts(keys)) if text not in landed]
    for index in _confirmed(reader, ids, absent):
        lander.push_delete(keys[index])


def _confirmed(reader: Reader, ids: list[Any], absent: list[int]) -> list[int]:
    """Return those of `absent` that the server does not have: a rejected document is there, and not deleted."""
    gone: list[int] = []
    for start in range(0, len(absent), _LOOKUP_IDS):
        chunk = absent[start : start + _LOOKUP_IDS]
        query = {"_id": {"$in": [ids[index] for index in chunk]}}
        raw = b"".join(reader.find(query, projection={"_id": 1}))
        there = set(_key_texts([raw]) if raw else [])
        texts = _key_texts([_encode(ids[index]) for index in chunk])
        gone += [index for index, text in zip(chunk, texts, strict=True) if text not in there]
    return gone


def _key_texts(documents: list[bytes]) -> list[str]:
    """Return the key text of each `_id`, by the decoder itself, so that there is one rule."""
    decoder = make_decoder()
    texts: list[str] = []
    raw, offset = b"".join(documents), 0
    while offset < len(raw):
        offset = decoder.push(raw, offset)
        texts += decoder.flush().tables[""]["_id"].to_list()
    return texts


def _take(reader: Reader, event: Any, found: Changes) -> bool:
    """Add one event; return True when the stream ends with it."""
    operation = event["operationType"]
    if operation in _ENDINGS:
        reader.warnings.append(f"{reader.ref.name}: the collection saw {operation}; it is read anew")
        found.invalidated = True
        return True
    if "documentKey" in event:
        key = event["documentKey"]["_id"]
        found.keys.setdefault(_encode(key), key)
    return False


def _encode(key: Any) -> bytes:
    return bson.encode({"_id": key}, codec_options=_EXACT.with_options(document_class=dict))


@contextmanager
def _watch(reader: Reader, session: ClientSession, state: dict[str, Any] | None) -> Iterator[ChangeStream[Any]]:
    """Open the stream after a position, or at now when there is none."""
    collection = reader.collection.with_options(codec_options=_EXACT)
    # startAfter, not resumeAfter: it also goes on after an invalidate.
    start = {"start_after": thaw(state["resume_token"])} if state else {}
    try:
        with collection.watch(
            [{"$project": {"fullDocument": 0, "fullDocumentBeforeChange": 0, "updateDescription": 0}}],
            max_await_time_ms=_AWAIT_MS,
            session=session,
            **start,
        ) as stream:
            yield stream
    except OperationFailure as error:
        if state is None or error.code not in _LOST_CODES:
            raise
        raise ResumeTokenLost(
            f"the change stream cannot be resumed (code {error.code}): the server's oplog no longer holds the position",
            reader.ref.name,
            "changes since then are unknown: set on_lost_token: resnapshot to read all again and find deletes, "
            f"or run `warehouse reset {reader.ref.name}`; a longer oplog or more frequent runs prevent it",
        ) from error


def _state(stream: ChangeStream[Any], at: Timestamp | None) -> dict[str, Any]:
    time_ = at or Timestamp(0, 0)
    token = dict(stream.resume_token or {})
    return {"resume_token": freeze(token), "cluster_time": [time_.time, time_.inc]}


def _never_back(reader: Reader, before: dict[str, Any], after: dict[str, Any]) -> None:
    """https://github.com/airbytehq/airbyte/issues/69102: a position that moved back lost rows in a green run."""
    if after["cluster_time"] < before["cluster_time"]:
        raise SourceError(
            f"the change stream went back in time, from {before['cluster_time']} to {after['cluster_time']}",
            reader.ref.name,
            f"run `warehouse reset {reader.ref.name}`, and report it to the server's vendor",
        )
