"""What a checkpoint remembers of each account: which days are final, what its last days held, how far it got."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
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
        cursor: Greatest value of the cursor.
        backfill: Days that the backfill in progress has read.
    """

    final: Days = field(default_factory=Days)
    rows: dict[str, int] = field(default_factory=dict)
    cursor: str | None = None
    backfill: Days = field(default_factory=Days)

    @classmethod
    def read(cls, state: Mapping[str, Any]) -> AccountState:
        """Read what `json` gave."""
        return cls(
            Days.read(state.get("final", ())),
            dict(state.get("rows", {})),
            state.get("cursor"),
            Days.read(state.get("backfill", ())),
        )

    def json(self) -> dict[str, Any]:
        """Return the state without what is empty."""
        made = {
            "final": self.final.state(),
            "rows": dict(sorted(self.rows.items())),
            "cursor": self.cursor,
            "backfill": self.backfill.state(),
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
        first = min(since or layout.start or young, young)
        if layout.oldest is not None:
            first = max(first, today - timedelta(days=layout.oldest))
        recent, older = [], []
        for gap in self.final.missing(Window(first, last)) if first <= last else []:
            if gap.last >= young:
                recent.append(Window(max(gap.first, young), gap.last))
            if gap.first < young:
                older.append(Window(gap.first, min(gap.last, young - timedelta(days=1))))
        return _sliced(recent, layout.step), _sliced(older, layout.step)

    def again(self, layout: Layout, wanted: Window, today: date) -> list[Window]:
        """Return the days of a backfill that it has not read yet; newest first, in slices."""
        if wanted.first > today:
            return []
        return _sliced(self.backfill.missing(Window(wanted.first, min(wanted.last, today))), layout.step)

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


@dataclass
class TableState:
    """All accounts of a table.

    Attributes:
        accounts: By account id.
        until: When the service may be asked again, after its quota was used up.
        wanted: The backfill in progress.
        since: First day that is wanted, after a reset.
    """

    accounts: dict[str, AccountState] = field(default_factory=dict)
    until: datetime | None = None
    wanted: Window | None = None
    since: date | None = None

    @classmethod
    def read(cls, state: Mapping[str, Any]) -> TableState:
        """Read a checkpoint's state."""
        until, wanted, since = state.get("until"), state.get("backfill"), state.get("since")
        return cls(
            {name: AccountState.read(found) for name, found in state.get("accounts", {}).items()},
            datetime.fromisoformat(until) if until else None,
            Window(*(date.fromisoformat(text) for text in wanted)) if wanted else None,
            date.fromisoformat(since) if since else None,
        )

    def of(self, account: str) -> AccountState:
        """Return the state of an account, a new one where it is not known."""
        return self.accounts.setdefault(account, AccountState())

    def begin(self, wanted: Window | None) -> None:
        """Begin a backfill, or go on with the one of these days."""
        if wanted is not None and wanted != self.wanted:
            for account in self.accounts.values():
                account.backfill = Days()
            self.wanted = wanted

    def json(self) -> dict[str, Any]:
        """Return the state as the checkpoint keeps it."""
        made: dict[str, Any] = {"accounts": {name: found.json() for name, found in sorted(self.accounts.items())}}
        if self.until:
            made["until"] = self.until.isoformat()
        if self.wanted:
            made["backfill"] = [self.wanted.first.isoformat(), self.wanted.last.isoformat()]
        if self.since:
            made["since"] = self.since.isoformat()
        return made
