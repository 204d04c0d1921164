"""What a checkpoint remembers of each account: which days are final, what its last days held, how far it got.

A backfill has a key of its own in the state, so that neither it nor the daily read sets back the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

from tasks.marketing.rest.channel import Layout
from tasks.marketing.rest.windows import Days
from tasks.sources.window import Window


@dataclass
class AccountState:
    """One account.

    Attributes:
        final: Days that were read after the service was done changing them; they are not read again.
        rows: By day (ISO) the rows of the last read, for the days that are not final.
        all: Rows of the last read, for tables of which each read brings all.
        cursor: Greatest value of the cursor, or the channel's own position.
    """

    final: Days = field(default_factory=Days)
    rows: dict[str, int] = field(default_factory=dict)
    all: int = 0
    cursor: str | None = None

    @classmethod
    def read(cls, state: Mapping[str, Any]) -> AccountState:
        """Read what `json` gave."""
        final, rows = Days.read(state.get("final", ())), dict(state.get("rows", {}))
        return cls(final, rows, state.get("all", 0), state.get("cursor"))

    def json(self) -> dict[str, Any]:
        """Return the state without what is empty."""
        made = {
            "final": self.final.state(),
            "rows": dict(sorted(self.rows.items())),
            "all": self.all,
            "cursor": self.cursor,
        }
        return {name: value for name, value in made.items() if value}

    def due(self, layout: Layout, today: date, since: date | None = None) -> tuple[list[Window], list[Window]]:
        """Return the days that may still change, and older ones that were never read as final; newest first, in slices.

        Args:
            layout: How the table is read.
            today: The day it is for the account.
            since: First day that is wanted, instead of the layout's.
        """
        last = today if layout.current_day else today - timedelta(days=1)
        young = today - timedelta(days=layout.lookback)
        first = max(since or layout.start or young, first_kept(layout, today))
        recent, older = [], []
        for gap in self.final.missing(Window(first, last)) if first <= last else []:
            if gap.last >= young:
                recent.append(Window(max(gap.first, young), gap.last))
            if gap.first < young:
                older.append(Window(gap.first, min(gap.last, young - timedelta(days=1))))
        return _sliced(recent, layout.step), _sliced(older, layout.step)

    def took(self, layout: Layout, window: Window, counts: Mapping[str, int], today: date) -> None:
        """Note that a window was read whole."""
        done = today - timedelta(days=layout.lookback)
        if window.first <= done:
            self.final.add(Window(window.first, min(window.last, done)))
        for day in window.days():
            self.rows.pop(day.isoformat(), None)
        self.rows |= {day: count for day, count in counts.items() if count}
        self.rows = {day: count for day, count in self.rows.items() if date.fromisoformat(day) >= done}


def _sliced(windows: list[Window], days: int) -> list[Window]:
    return [piece for window in windows for piece in window.slices(days)]


def first_kept(layout: Layout, today: date) -> date:
    """Return the first day that the service still has."""
    return date.min if layout.oldest is None else today - timedelta(days=layout.oldest)


@dataclass
class Backfill:
    """Days that are read again because somebody asked for them.

    Attributes:
        wanted: The days.
        accounts: By account which of them were read.
        ended: Whether all of them were: asked for once more, they are read once more.
    """

    wanted: Window
    accounts: dict[str, Days] = field(default_factory=dict)
    ended: bool = False

    @classmethod
    def read(cls, state: Mapping[str, Any]) -> Backfill:
        """Read what `json` gave."""
        found = {name: Days.read(pairs) for name, pairs in state["accounts"].items()}
        return cls(Window(*map(date.fromisoformat, state["days"])), found, state["ended"])

    def json(self) -> dict[str, Any]:
        """Return the backfill as the state keeps it."""
        days = [self.wanted.first.isoformat(), self.wanted.last.isoformat()]
        read = {name: found.state() for name, found in sorted(self.accounts.items())}
        return {"days": days, "accounts": read, "ended": self.ended}

    def due(self, layout: Layout, account: str, today: date) -> list[Window]:
        """Return the days of an account that were not read yet; newest first, in slices."""
        first, last = max(self.wanted.first, first_kept(layout, today)), min(self.wanted.last, today)
        if first > last:
            return []
        return _sliced(self.accounts.get(account, Days()).missing(Window(first, last)), layout.step)

    def took(self, account: str, window: Window) -> None:
        """Note that a window was read whole."""
        self.accounts.setdefault(account, Days()).add(window)


@dataclass
class TableState:
    """All accounts of a table.

    Attributes:
        accounts: By account id.
        since: First day that is wanted, after a reset.
        backfill: The last one.
    """

    accounts: dict[str, AccountState] = field(default_factory=dict)
    since: date | None = None
    backfill: Backfill | None = None

    @classmethod
    def read(cls, state: Mapping[str, Any]) -> TableState:
        """Read a checkpoint's state."""
        since, backfill = state.get("since"), state.get("backfill")
        return cls(
            {name: AccountState.read(found) for name, found in state.get("accounts", {}).items()},
            date.fromisoformat(since) if since else None,
            Backfill.read(backfill) if backfill else None,
        )

    def of(self, account: str) -> AccountState:
        """Return the state of an account, a new one where it is not known."""
        return self.accounts.setdefault(account, AccountState())

    def begin(self, wanted: Window) -> Backfill:
        """Go on with the backfill of these days, or begin one where they are others or were all read."""
        if self.backfill is None or self.backfill.ended or self.backfill.wanted != wanted:
            self.backfill = Backfill(wanted)
        return self.backfill

    def json(self) -> dict[str, Any]:
        """Return the state as the checkpoint keeps it."""
        made: dict[str, Any] = {"accounts": {name: found.json() for name, found in sorted(self.accounts.items())}}
        if self.since:
            made["since"] = self.since.isoformat()
        if self.backfill:
            made["backfill"] = self.backfill.json()
        return made
