"""What is asked in which order: the days that still change of all accounts first, then what is older, newest first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, datetime

from tasks.marketing.rest.channel import Account, Ask, Layout
from tasks.marketing.rest.state import Backfill, TableState
from tasks.marketing.rest.windows import today
from tasks.sources import TableRef
from tasks.sources.window import Window


class Rounds:
    """What a table's state leaves to be asked of accounts, in rounds that land as one batch each.

    Args:
        ref: The table.
        layout: How it is read.
        accounts: Whose rows.
        state: What was read before; it grows by what is taken.
        wanted: Days to read again; None means what is due.
        now: The moment that decides which day it is for each account.
    """

    def __init__(
        self,
        ref: TableRef,
        layout: Layout,
        accounts: Sequence[Account],
        state: TableState,
        wanted: Window | None,
        now: datetime,
    ) -> None:
        self._ref, self._now = ref, now
        self.layout, self.accounts, self.state = layout, accounts, state
        self.backfill: Backfill | None = state.begin(wanted) if wanted else None

    def __iter__(self) -> Iterator[list[Ask]]:
        """Yield what to ask, round after round."""
        name = self._ref.table_name
        if self.layout.day is None:
            yield [Ask(name, account, cursor=self._cursor(account)) for account in self.accounts]
            return
        recent: list[Ask] = []
        older: list[list[Ask]] = []
        for account in self.accounts:
            young, old = self._due(account)
            recent += [Ask(name, account, window) for window in young]
            for number, window in enumerate(old):
                if number == len(older):
                    older.append([])
                older[number].append(Ask(name, account, window))
        yield from ([recent] if recent else [])
        yield from older

    def today(self, account: Account) -> date:
        """Return the day that it is for an account."""
        return today(account.timezone, self._now, f"{self._ref.source_name} account {account}")

    def end_backfill(self) -> None:
        """Note whether all days of the backfill were read."""
        if self.backfill is not None:
            self.backfill.ended = not any(self._due(account)[1] for account in self.accounts)

    def _due(self, account: Account) -> tuple[list[Window], list[Window]]:
        day = self.today(account)
        if self.backfill is not None:
            return [], self.backfill.due(self.layout, account.id, day)
        return self.state.of(account.id).due(self.layout, day, self.state.since)

    def _cursor(self, account: Account) -> str | None:
        return self.state.of(account.id).cursor if self.layout.incremental else None
