"""Days by the account's own calendar: which of them are due, and in which slices they are read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from tasks.errors import ConfigError
from tasks.sources.window import Window

_DAY = timedelta(days=1)


def zone(name: str, where: str) -> ZoneInfo:
    """Return a time zone by its IANA name.

    Raises:
        ConfigError: There is none of this name.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigError(
            f"no time zone is called {name!r}", where, "use an IANA name, such as Europe/Berlin"
        ) from None


def today(name: str, now: datetime, where: str = "") -> date:
    """Return the day that it is in a time zone."""
    return now.astimezone(zone(name, where)).date()


class Days:
    """A set of days, kept as windows that do not touch."""

    def __init__(self, windows: Iterable[Window] = ()) -> None:
        self._windows: list[Window] = []
        for window in windows:
            self.add(window)

    @classmethod
    def read(cls, pairs: Iterable[Iterable[str]]) -> Days:
        """Read what `state` gave."""
        return cls(Window(*(date.fromisoformat(text) for text in pair)) for pair in pairs)

    def state(self) -> list[list[str]]:
        """Return the set as JSON can say it."""
        return [[window.first.isoformat(), window.last.isoformat()] for window in self._windows]

    def add(self, window: Window) -> None:
        """Add days."""
        apart = []
        for known in self._windows:
            if known.end < window.first or window.end < known.first:
                apart.append(known)
            else:
                window = Window(min(known.first, window.first), max(known.last, window.last))
        self._windows = sorted([*apart, window])

    def missing(self, window: Window) -> list[Window]:
        """Return the days of a window that are not in the set, the newest first."""
        found, first = [], window.first
        for known in self._windows:
            if known.last < first or known.first > window.last:
                continue
            if known.first > first:
                found.append(Window(first, known.first - _DAY))
            first = known.end
        if first <= window.last:
            found.append(Window(first, window.last))
        return found[::-1]

    def __contains__(self, day: date) -> bool:
        return any(day in window for window in self._windows)

    def __iter__(self) -> Iterator[Window]:
        return iter(self._windows)
