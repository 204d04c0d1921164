"""The time that the engine goes by, so that tests need not wait for it."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta


class Clock:
    """The machine's own clock."""

    def now(self) -> datetime:
        """Return the present moment in UTC."""
        return datetime.now(UTC)

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


MACHINE = Clock()
"""What all sources of this process go by: tables share a budget only where they share the time."""


class ManualClock(Clock):
    """A clock that stands still but for what is waited for, and a microsecond each time it is asked.

    Args:
        now: Where it starts.
    """

    def __init__(self, now: datetime) -> None:
        self._now = now
        self.slept: list[float] = []

    def now(self) -> datetime:
        """See `Clock`."""
        self._now += timedelta(microseconds=1)
        return self._now

    def sleep(self, seconds: float) -> None:
        """Move on at once, and remember by how much."""
        self.slept.append(seconds)
        self._now += timedelta(seconds=seconds)
