"""Days that a source is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

_DAY = timedelta(days=1)


@dataclass(frozen=True, order=True)
class Window:
    """Days from `first` to `last`, both included."""

    first: date
    last: date

    def __post_init__(self) -> None:
        if self.first > self.last:
            raise ValueError(f"a window cannot end ({self.last}) before it begins ({self.first})")

    @property
    def end(self) -> date:
        """The day after the last one."""
        return self.last + _DAY

    def days(self) -> Iterator[date]:
        """Yield each day."""
        for offset in range((self.end - self.first).days):
            yield self.first + timedelta(days=offset)

    def __len__(self) -> int:
        return (self.end - self.first).days

    def __contains__(self, day: date) -> bool:
        return self.first <= day <= self.last

    def halves(self) -> tuple[Window, Window] | None:
        """Return both halves, None for a single day."""
        if self.first == self.last:
            return None
        middle = self.first + timedelta(days=(len(self) - 1) // 2)
        return Window(self.first, middle), Window(middle + _DAY, self.last)

    def slices(self, days: int) -> Iterator[Window]:
        """Yield slices of at most so many days, the newest first."""
        last = self.last
        while last >= self.first:
            first = max(self.first, last - timedelta(days=days - 1))
            yield Window(first, last)
            last = first - _DAY
