"""How often a service may be asked: one budget for all that read a source, in this process or any other."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, Protocol, TypeVar

import psycopg

from tasks import database
from tasks.marketing.rest.clock import Clock
from tasks.ops import turns
from tasks.settings import get_settings

_Told = TypeVar("_Told")


class Turns(Protocol):
    """Whose turn it is: a bucket of requests that fills evenly, as it is used up."""

    def take(self) -> float:
        """Take a turn; return the seconds to wait before the request may be sent."""
        ...

    def pause(self, seconds: float) -> None:
        """Let nobody have a turn for so long."""
        ...


class LocalTurns:
    """The turns of this process alone.

    Args:
        name: The source.
        requests: How many requests.
        seconds: In how many seconds.
        clock: What it goes by.
    """

    def __init__(self, name: str, requests: float, seconds: float, clock: Clock) -> None:
        self._most, self._each, self._clock = requests, seconds / requests, clock
        self._lock = threading.Lock()
        self._left, self._seen = requests, clock.now()
        self._not_before: datetime | None = None

    def take(self) -> float:
        """See `Turns`."""
        with self._lock:
            now = self._clock.now()
            self._left = min(self._most, self._left + (now - self._seen).total_seconds() / self._each)
            self._seen = now
            self._left -= 1
            paused = (self._not_before - now).total_seconds() if self._not_before else 0.0
            return max(-self._left * self._each, paused, 0.0)

    def pause(self, seconds: float) -> None:
        """See `Turns`."""
        with self._lock:
            until = self._clock.now() + timedelta(seconds=seconds)
            self._not_before = max(until, self._not_before or until)


class SharedTurns:
    """The turns of all processes of a warehouse, which are kept in it; its own clock is what they go by.

    Args:
        name: The source.
        requests: How many requests.
        seconds: In how many seconds.
        clock: Unused: the warehouse has its own.
    """

    def __init__(self, name: str, requests: float, seconds: float, clock: Clock) -> None:
        self._name, self._requests, self._seconds = name, requests, seconds
        self._lock = threading.Lock()
        self._connection: psycopg.Connection[Any] | None = None

    def take(self) -> float:
        """See `Turns`."""
        return self._asked(lambda db: turns.take(db, self._name, self._requests, self._seconds))

    def pause(self, seconds: float) -> None:
        """See `Turns`."""
        self._asked(lambda db: turns.pause(db, self._name, seconds))

    def _asked(self, statement: Callable[[psycopg.Connection[Any]], _Told]) -> _Told:
        with self._lock, database.named_errors("the turns of a source"):
            try:
                return statement(self._connected())
            except psycopg.OperationalError:
                # An idle connection may have been closed on its way; one that was just opened was not.
                if self._connection is not None:
                    self._connection.close()
                return statement(self._connected())

    def _connected(self) -> psycopg.Connection[Any]:
        if self._connection is None or self._connection.closed:
            self._connection = database.connect(
                get_settings().database_url(), autocommit=True, application="warehouse turns"
            )
        return self._connection


class Budget:
    """At most so many requests in so many seconds, evenly spread once the first are used up.

    Args:
        turns: Whose turn it is.
        clock: What waits go by.
        concurrent: How many may be on their way at once.
        limit: What it allows, for people.
    """

    def __init__(self, turns: Turns, clock: Clock, concurrent: int, limit: str) -> None:
        self._turns, self._clock, self.limit = turns, clock, limit
        self._slots = threading.BoundedSemaphore(concurrent)

    @contextmanager
    def request(self) -> Iterator[float]:
        """Wait for one's turn, and hold one of the slots until the answer is there; yields the seconds waited."""
        with self._slots:
            wait = self._turns.take()
            if wait > 0:
                self._clock.sleep(wait)
            yield wait

    def pause(self, seconds: float) -> None:
        """Let nobody ask for so long: the service told one of us to wait, and means all."""
        self._turns.pause(seconds)
