"""How often a service may be asked: one budget for all tables of a source that a process reads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from tasks.marketing.rest.clock import Clock


class Budget:
    """At most so many requests in so many seconds, evenly spread once the first are used up.

    Args:
        requests: How many.
        seconds: In how many seconds.
        clock: What it goes by.
        concurrent: How many may be on their way at once.
    """

    def __init__(self, requests: float, seconds: float, clock: Clock, concurrent: int = 8) -> None:
        self._most, self._each, self._clock = requests, seconds / requests, clock
        self._lock = threading.Lock()
        self._slots = threading.BoundedSemaphore(concurrent)
        self._left, self._seen = requests, clock.now()
        self._not_before: datetime | None = None

    @contextmanager
    def request(self) -> Iterator[None]:
        """Wait for one's turn, and hold one of the slots until the answer is there."""
        with self._slots:
            wait = self._take()
            if wait > 0:
                self._clock.sleep(wait)
            yield

    def pause(self, seconds: float) -> None:
        """Let nobody ask for so long: the service told one of us to wait, and means all."""
        with self._lock:
            until = self._clock.now() + timedelta(seconds=seconds)
            self._not_before = max(until, self._not_before or until)

    def _take(self) -> float:
        """Take a request out of the budget; return the seconds to wait before it may be sent."""
        with self._lock:
            now = self._clock.now()
            self._left = min(self._most, self._left + (now - self._seen).total_seconds() / self._each)
            self._seen = now
            self._left -= 1
            paused = (self._not_before - now).total_seconds() if self._not_before else 0.0
            return max(-self._left * self._each, paused, 0.0)


_shared: dict[tuple[str, float, float, Clock], Budget] = {}
_making = threading.Lock()


def shared(key: str, requests: float, seconds: float, clock: Clock, concurrent: int = 8) -> Budget:
    """Return the budget of a key, which all that ask for it in this process share."""
    with _making:
        return _shared.setdefault((key, requests, seconds, clock), Budget(requests, seconds, clock, concurrent))
