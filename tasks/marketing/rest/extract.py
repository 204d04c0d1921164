"""Extraction of a table of a channel: what is due lands as batches that replace whole days of accounts, or nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from itertools import chain, islice
from typing import Any

from tasks.errors import QuotaExhausted, SourceAuthError, SourceError, SourceUnreachable
from tasks.extract import ExtractContext, ExtractMetrics, ExtractResult
from tasks.landing import AccountDaysScope, Manifest, Replaced, Segment, UpsertScope, new_batch_id
from tasks.marketing.rest.channel import ACCOUNT, Account, Ask, Channel, Layout
from tasks.marketing.rest.errors import JobFailed, ReducePage, SplitWindow, VersionEnded
from tasks.marketing.rest.rounds import Rounds
from tasks.marketing.rest.rows import Rows
from tasks.marketing.rest.state import TableState, first_kept
from tasks.sources import TableRef
from tasks.sources.window import Window

# What a batch moves of the state: neither kind of read sets the other one back.
_DAILY_KEYS, _BACKFILL_KEYS = ["accounts", "since"], ["backfill"]


class AccountsFailed(SourceError):
    """Some accounts could not be read; what the others gave is landed."""


class SuspiciousEmpty(SourceError):
    """An account that had rows suddenly has none: more often a lost right than a lost campaign."""


@dataclass
class _Pulled:
    """What one account's window gave: a segment for each piece that it was read in."""

    account: Account
    window: Window | None
    segments: list[Segment]
    by_day: dict[str, int]
    rows: int
    cursor: str | None


@dataclass
class _Run:
    """One extraction.

    Attributes:
        failures: By account what went wrong.
        stop: What ended the reading before all was read.
    """

    ref: TableRef
    context: ExtractContext
    channel: Channel
    rounds: Rounds
    failures: dict[str, SourceError] = field(default_factory=dict)
    stop: SourceError | None = None
    manifests: list[Manifest] = field(default_factory=list)
    previous: dict[str, Any] = field(default_factory=dict)
    rows: int = 0
    segment: int = 0

    # -- rounds -----------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Read round after round, each landed as one batch, until all is read or something stops it."""
        rounds = list(self.rounds)
        for number, asks in enumerate(rounds):
            self._round(asks, rounds[number + 1 :])
            if self.stop is not None:
                return

    def _round(self, asks: Sequence[Ask], later: Sequence[Sequence[Ask]]) -> None:
        """Read one window of some accounts and land as one batch what was read whole.

        Args:
            asks: What is read.
            later: What is read in the rounds after it.
        """
        extracted_at = self.channel.clock.now()
        batch_id = new_batch_id(extracted_at)
        self.segment = 0
        pulled: list[_Pulled] = []
        for number, ask in enumerate(asks):
            if ask.account.id in self.failures:
                continue
            following = (one for one in chain(asks[number:], *later) if one.account.id not in self.failures)
            self.channel.prepare(list(islice(following, self.channel.ahead)))
            try:
                pulled.append(self._pull(ask, batch_id))
            except (QuotaExhausted, SourceAuthError, SourceUnreachable, VersionEnded) as error:
                self.stop = error
                break
            except SourceError as error:
                self.failures[ask.account.id] = error
        pulled = [found for found in pulled if found.account.id not in self._suspicious(pulled)]
        if pulled:
            self._commit(batch_id, extracted_at, pulled)

    def _commit(self, batch_id: str, extracted_at: datetime, pulled: Sequence[_Pulled]) -> None:
        replaced = [self._took(found) for found in pulled]
        self.rounds.end_backfill()
        scope: AccountDaysScope | UpsertScope = AccountDaysScope(
            account=ACCOUNT, day=self.rounds.layout.day, parts=replaced
        )
        windows = [found.window for found in pulled if found.window]
        checkpoint = self.rounds.state.json()
        manifest = self.context.landing.commit(
            self.ref.source_name,
            self.ref.table_name,
            batch_id,
            [segment for found in pulled for segment in found.segments],
            mode="incremental" if self.rounds.layout.incremental else "window",
            scope=UpsertScope() if self.rounds.layout.incremental else scope,
            window={
                "from": min(window.first for window in windows).isoformat() if windows else None,
                "to": max(window.last for window in windows).isoformat() if windows else None,
                "accounts": [found.account.id for found in pulled],
            },
            checkpoint=checkpoint,
            checkpoint_keys=_DAILY_KEYS if self.rounds.backfill is None else _BACKFILL_KEYS,
            previous_checkpoint=self.previous,
            extracted_at=extracted_at,
            fingerprint=f"{self.ref.table.fingerprint():016x}",
            flow_run_id=self.context.flow_run_id,
        )
        self.previous = checkpoint
        self.manifests.append(manifest)

    def _took(self, found: _Pulled) -> Replaced:
        """Note that something was read whole, and return what it replaces."""
        account, window = found.account, found.window
        if window is None:
            state = self.rounds.state.of(account.id)
            state.cursor, state.all = found.cursor, 0 if self.rounds.layout.incremental else found.rows
            return Replaced(account=account.id)
        day = self.rounds.today(account)
        if self.rounds.backfill is not None:
            self.rounds.backfill.took(account.id, window)
        else:
            self.rounds.state.of(account.id).took(self.rounds.layout, window, found.by_day, day)
        return _replaced(account, window, day - timedelta(days=self.rounds.layout.lookback))

    # -- one account ------------------------------------------------------------------------------------------

    def _pull(self, ask: Ask, batch_id: str) -> _Pulled:
        """Read what was asked for, in pieces where the service wants fewer days at a time.

        Raises:
            SourceError: It cannot be read whole.
        """
        found = _Pulled(ask.account, ask.window, [], {}, 0, ask.cursor)
        pieces = [ask]
        while pieces:
            piece = pieces.pop(0)
            try:
                self._piece(piece, batch_id, found)
            except (SplitWindow, ReducePage, JobFailed) as error:
                halves = piece.window.halves() if piece.window else None
                if halves is None:
                    where = f"{self.ref.name}, account {ask.account}, {piece.window.first if piece.window else 'all'}"
                    raise SourceError(
                        f"it cannot be read in smaller pieces: {error}", where, "run again later"
                    ) from None
                pieces[:0] = [Ask(piece.table, piece.account, half) for half in halves]
        self.rows += found.rows
        return found

    def _piece(self, ask: Ask, batch_id: str, into: _Pulled) -> None:
        before = self.channel.bytes
        with self.context.landing.writer(*self.ref.key, batch_id, self.segment) as writer:
            self.segment += 1
            with Rows(self.ref.table, self.rounds.layout, ask, writer, self.context.memory_bytes) as rows:
                rows.take(self._watched(self.channel.read(ask)))
                into.segments.append(rows.finish(self.channel.bytes - before))
        into.by_day |= rows.by_day
        into.rows += rows.count
        into.cursor = self.channel.position(ask) or rows.cursor

    def _watched(self, records: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        for number, record in enumerate(records, 1):
            if number % 10_000 == 0 and self.context.progress:
                self.context.progress(self.rows + number)
            yield record

    def _suspicious(self, pulled: Sequence[_Pulled]) -> set[str]:
        """Return the accounts that answered nothing at all where they had something; they have failed."""
        found: set[str] = set()
        if self.rounds.layout.empty == "accept":
            return found
        for account in {one.account.id: one.account for one in pulled}.values():
            had = self._had(account, [one.window for one in pulled if one.account.id == account.id and one.window])
            if had and not any(one.rows for one in pulled if one.account.id == account.id):
                found.add(account.id)
                self.failures[account.id] = SuspiciousEmpty(
                    f"{had} rows were there at the last read and none is there now",
                    f"{self.ref.name}, account {account}",
                    "see whether the account can still be read; where it is true, set `empty: accept` and run again",
                )
        return found

    def _had(self, account: Account, windows: Sequence[Window]) -> int:
        """Return how many rows an account had at the last read of these days, or of all."""
        state = self.rounds.state.of(account.id)
        if self.rounds.layout.day is None:
            return state.all
        held = state.rows if self.rounds.backfill is None else self.context.held.get(account.id, {})
        return sum(count for day, count in held.items() if any(date.fromisoformat(day) in one for one in windows))


def _replaced(account: Account, window: Window, final: date) -> Replaced:
    ends = min(final, window.last).isoformat() if final >= window.first else None
    days = {"from": window.first.isoformat(), "to": window.last.isoformat(), "final_to": ends}
    return Replaced.model_validate({"account": account.id, **days})


def extract_table(ref: TableRef, context: ExtractContext, open_channel: Callable[[], Channel]) -> ExtractResult:
    """Read what is due of each account and land it.

    Each batch holds windows of accounts that were read whole, and only those replace what is in the warehouse. What
    could not be read is an error, raised after everything else has landed.

    Raises:
        AccountsFailed: Some accounts could not be read.
        QuotaExhausted: The service gives no more for now.
        SourceError: Nothing can be read.
        LandingError: The landing could not be written.
    """
    started = time.monotonic()
    state = TableState.read(context.state)
    with closing(open_channel()) as channel:
        now = channel.clock.now()
        accounts = channel.accounts()
        if not accounts:
            raise SourceError(
                "the credentials reach no account", ref.source_name, "grant the user an account, or list them"
            )
        layout = channel.layout(ref.table_name)
        rounds = Rounds(ref, layout, accounts, state, context.window, now)
        run = _Run(ref, context, channel, rounds, previous=dict(context.state))
        run.run()
        warnings = (*_endings(channel, now), *channel.warnings(), *_not_kept(layout, context.window, now))
    metrics = _metrics(run.manifests, started)
    error = run.stop or (_failed(ref, run) if run.failures else None)
    if error is not None:
        error.done = metrics
        raise error
    return ExtractResult(run.manifests[-1] if run.manifests else None, metrics, warnings)


def _failed(ref: TableRef, run: _Run) -> SourceError:
    accounts = run.rounds.accounts
    names = {account.id: str(account) for account in accounts}
    said = "; ".join(f"{names[name]}: {error.what}" for name, error in list(run.failures.items())[:20])
    first = next(iter(run.failures.values()))
    left = len(accounts) - len(run.failures)
    return AccountsFailed(
        f"{len(run.failures)} of {len(accounts)} accounts could not be read (the other {left} are landed): {said}",
        ref.name,
        first.action,
    )


WARN_DAYS = 60
"""A version that ends is told so many days before."""


def _endings(channel: Channel, now: datetime) -> tuple[str, ...]:
    """Return a sentence for each version in use that ends soon."""
    said = []
    for ending in channel.endings():
        left = (ending.day - now.date()).days if ending.day else WARN_DAYS + 1
        if left <= WARN_DAYS:
            when = f"ends in {left} days, on {ending.day}" if left >= 0 else f"has ended on {ending.day}"
            said.append(f"{ending.what} {when}: {ending.upgrade}")
    return tuple(said)


def _not_kept(layout: Layout, wanted: Window | None, now: datetime) -> tuple[str, ...]:
    """Return a sentence where days were asked for that the service has no more."""
    kept = first_kept(layout, now.date())
    if wanted is None or wanted.first >= kept:
        return ()
    return (f"the service keeps {layout.oldest} days: the days from {wanted.first} to {kept} stay as they are",)


def _metrics(manifests: Sequence[Manifest], started: float) -> ExtractMetrics:
    """Return the sums over the batches, with the window over all of them and the time that the service took."""
    return replace(
        ExtractMetrics.of(manifests),
        seconds=round(time.monotonic() - started, 3),
        window_from=min((str(one.window["from"]) for one in manifests if one.window.get("from")), default=None),
        window_to=max((str(one.window["to"]) for one in manifests if one.window.get("to")), default=None),
    )
