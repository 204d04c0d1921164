"""One change stream of a whole database, drained once for all the tables of a run.

A stream of its own for each collection makes the server scan its oplog once for each. Here the first table that asks
drains the stream for all, from the oldest of their positions to now; what changed is kept as keys until each table has
landed its own, as batches of its own with a checkpoint of its own. So a table that fails stays where it was, and the
next run begins there; for the others the events that they had are left out.

Positions are ordered by the time of the last event of the database that lies before them. That holds because every
stream here sees all events of the database, never a selection: nothing lies between a position's token and that event.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pymongo.errors import OperationFailure

from tasks.errors import ResumeTokenLost
from tasks.mongodb import changes
from tasks.mongodb.config import MongoRef, MongoTable, collection_name
from tasks.sources import TableRef

if TYPE_CHECKING:
    from tasks.mongodb.extract import Reader

# Share of a table's memory budget that keys may fill: then the run ends with what it has, and the next goes on.
_HELD_SHARE = 8


@dataclass
class Share:
    """What the stream says of one table.

    Attributes:
        state: The table's position after all of it.
        batches: The changed keys, joined, of each batch, and the position after it.
        events: Number of events behind them.
        ending: What ended the collection, such as `drop`: it has to be read anew.
        lost: The table's position is gone.
    """

    state: dict[str, Any]
    batches: list[tuple[bytes, dict[str, Any]]] = field(default_factory=list)
    events: int = 0
    ending: str | None = None
    lost: ResumeTokenLost | None = None

    def steps(self) -> Iterator[tuple[list[bytes], dict[str, Any]]]:
        """Yield the keys of each batch and the position after it; the last position is that of the stream's end."""
        batches = [*self.batches[:-1], (self.batches[-1][0] if self.batches else b"", self.state)]
        for joined, state in batches:
            yield list(_split(joined)), state


class SharedStream:
    """The stream of a database and what it says of each table; used by the threads of one run.

    Args:
        refs: The cdc tables of one source that are read in this run.
        state_of: Returns the checkpoint's state of a table; empty means that it was never read.
    """

    def __init__(self, refs: Sequence[MongoRef], state_of: Callable[[TableRef], dict[str, Any]]) -> None:
        self._refs = {ref.name: ref for ref in refs}
        self._state_of = state_of
        self._states: dict[str, dict[str, Any]] = {}
        self._shares: dict[str, Share] | None = None
        self._lock = threading.Lock()

    def state(self, ref: TableRef) -> dict[str, Any]:
        """Return the position from which a table is read in this run."""
        with self._lock:
            return self._state(ref)

    def changes_of(self, reader: Reader) -> Share | None:
        """Return a table's share; the first that asks drains the stream for all, the others wait.

        None: the collection was not there a moment ago, so the stream was drained without it.

        Raises:
            ResumeTokenLost: The server no longer holds the table's position.
            SourceError: The stream could not be read; the next table that asks tries again.
        """
        with self._lock:
            if self._shares is None:
                self._shares = self._drain(reader)
            share = self._shares.get(reader.ref.name)
        if share is not None and share.lost is not None:
            raise share.lost
        return share

    def _state(self, ref: TableRef) -> dict[str, Any]:
        if ref.name not in self._states:
            self._states[ref.name] = self._state_of(ref)
        return self._states[ref.name]

    def _drain(self, reader: Reader) -> dict[str, Share]:
        """Follow the stream for every table that has a position and a collection."""
        there = set(reader.collection.database.list_collection_names())
        refs = [ref for ref in self._refs.values() if self._state(ref) and collection_name(ref) in there]
        lost: dict[str, Share] = {}
        while True:
            shares = {ref.name: Share(self._state(ref)) for ref in refs if ref.name not in lost}
            oldest = min((share.state for share in shares.values()), key=_age, default=None)
            if oldest is None:
                return lost
            try:
                self._follow(reader, oldest, shares)
                return shares | lost
            except ResumeTokenLost as error:
                code = error.__cause__.code if isinstance(error.__cause__, OperationFailure) else None
                for name in shares:
                    if _position(self._states[name]) == _position(oldest):
                        lost[name] = Share(oldest, lost=changes.lost(self._refs[name], code))

    def _follow(self, reader: Reader, state: dict[str, Any], shares: dict[str, Share]) -> None:
        """Read the stream from `state` to now and give each table its share."""
        until = reader.now()
        deadline = time.monotonic() + min(self._table(name).max_seconds for name in shares)
        active, room = dict(shares), reader.context.memory_bytes // _HELD_SHARE
        while active and room > 0 and time.monotonic() < deadline:
            positions: dict[str, list[int]] = {}
            for name, share in active.items():
                collection, own = collection_name(self._refs[name]), share.state["cluster_time"]
                positions[collection] = min(own, positions.get(collection, own))
            left = min(self._table(name).max_events - share.events for name, share in active.items())
            found = changes.next_changes(reader, state, until, deadline, positions, left)
            for name, share in list(active.items()):
                room -= self._give(share, collection_name(self._refs[name]), found)
                if share.ending or share.events >= self._table(name).max_events:
                    del active[name]
            state = found.state
            if found.caught_up:
                break

    def _give(self, share: Share, collection: str, found: changes.Changes) -> int:
        """Add a batch of the stream to a table's share; return the bytes that it holds."""
        own, at = share.state["cluster_time"], found.state["cluster_time"]
        share.ending = found.ending(collection, own)
        if share.ending:
            return 0
        # A position without token is a time after the stream's last event: at the stream's end it gets its token.
        if at < own and (_has_token(share.state) or not found.caught_up):
            return 0
        share.state = found.state | {"cluster_time": max(at, own), "collection": collection}
        keys = b"".join(found.keys.get(collection, ()))
        if keys:
            share.events += found.events[collection]
            share.batches.append((keys, share.state))
        return len(keys)

    def _table(self, name: str) -> MongoTable:
        return self._refs[name].table


def _age(state: dict[str, Any]) -> tuple[list[int], bool]:
    """Return what orders positions, oldest first; of the same time, one without token is before what happened then."""
    return state["cluster_time"], _has_token(state)


def _position(state: dict[str, Any]) -> dict[str, Any]:
    """Return a position, whosever it is."""
    return {key: value for key, value in state.items() if key != "collection"}


def _has_token(state: dict[str, Any]) -> bool:
    """Return whether a position has a token of a database's stream; a collection's own is not for it."""
    return state.get("stream") == "database" and "resume_token" in state


def _split(joined: bytes) -> Iterator[bytes]:
    """Yield the BSON documents of a joined row of them; each begins with its own length."""
    offset = 0
    while offset < len(joined):
        end = offset + int.from_bytes(joined[offset : offset + 4], "little")
        yield joined[offset:end]
        offset = end
