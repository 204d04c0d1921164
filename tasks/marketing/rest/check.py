"""What `warehouse check` tells of a channel: versions, accounts, and the first rows of each table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from datetime import timedelta
from itertools import islice

from tasks.errors import WarehouseError
from tasks.marketing.rest.channel import Account, Ask, Channel
from tasks.marketing.rest.config import ChannelSource
from tasks.marketing.rest.extract import WARN_DAYS
from tasks.marketing.rest.windows import today
from tasks.sources.connector import Finding
from tasks.sources.window import Window

_SHOWN_ACCOUNTS, _SHOWN_ROWS, _SHOWN_FIELDS = 10, 2, 6
_SHOWN_TEXT = 30


def check(name: str, source: ChannelSource, channel: Channel) -> Iterator[Finding]:
    """Yield what was found, in the order in which a person would look."""
    subject = f"source {name}"
    with closing(channel):
        yield from _endings(subject, channel)
        # What stands against asking for rights at all, the accounts tell as well.
        with suppress(WarehouseError):
            yield from channel.lacking()
        try:
            accounts = channel.accounts()
        except WarehouseError as error:
            yield Finding("wrong", subject, error.what, error.action)
            return
        if not accounts:
            yield Finding(
                "wrong", subject, "the credentials reach no account", "grant the user an account, or list them"
            )
            return
        yield from _read(name, list(source.tables), channel, accounts)


def _endings(subject: str, channel: Channel) -> Iterator[Finding]:
    now = channel.clock.now().date()
    for ending in channel.endings():
        if ending.day is None:
            yield Finding("ok", subject, f"{ending.what}, no end announced")
        elif ending.day < now:
            yield Finding("wrong", subject, f"{ending.what} has ended on {ending.day}", ending.upgrade)
        elif ending.day - now <= timedelta(days=WARN_DAYS):
            yield Finding("warning", subject, f"{ending.what} ends on {ending.day}", ending.upgrade)
        else:
            yield Finding("ok", subject, f"{ending.what}, until {ending.day}")


def _read(name: str, tables: Sequence[str], channel: Channel, accounts: Sequence[Account]) -> Iterator[Finding]:
    """Read the first table of the first accounts, and the other tables of one that can be read.

    What all of them fail by, such as a token, is told once.
    """
    failed: dict[Finding, list[Account]] = {}
    readable: list[Account] = []
    first: list[Finding] = []
    for account in accounts[:_SHOWN_ACCOUNTS]:
        try:
            first.append(_table(name, tables[0], channel, account))
            readable.append(account)
        except WarehouseError as error:
            failed.setdefault(Finding("wrong", f"{name}.{tables[0]}", error.what, error.action), []).append(account)
    if readable:
        shown = ", ".join(f"{account} in {account.timezone}" for account in readable)
        more = f" and {len(accounts) - _SHOWN_ACCOUNTS} more" if len(accounts) > _SHOWN_ACCOUNTS else ""
        yield Finding("ok", f"source {name}", f"account{_s(readable)} {shown}{more}")
        yield first[0]
    for finding, those in failed.items():
        yield replace(finding, message=f"{_named(those)}: {finding.message}")
    for table in tables[1:] if readable else ():
        try:
            yield _table(name, table, channel, readable[0])
        except WarehouseError as error:
            yield Finding("wrong", f"{name}.{table}", f"{_named(readable[:1])}: {error.what}", error.action)


def _named(accounts: Sequence[Account]) -> str:
    return f"account{_s(accounts)} {', '.join(map(str, accounts))}"


def _s(accounts: Sequence[Account]) -> str:
    return "s" if len(accounts) > 1 else ""


def _table(source: str, table: str, channel: Channel, account: Account) -> Finding:
    """Read the first rows of yesterday.

    Raises:
        WarehouseError: They cannot be read.
    """
    name = f"{source}.{table}"
    window = None
    if channel.layout(table).day is not None:
        yesterday = today(account.timezone, channel.clock.now()) - timedelta(days=1)
        window = Window(yesterday, yesterday)
    rows = list(islice(channel.read(Ask(table, account, window)), _SHOWN_ROWS))
    when = f" on {window.first}" if window else ""
    if not rows:
        return Finding("warning", name, f"account {account} has no rows{when}", "see whether that is true")
    shown = "".join(f"\n{'':10}{', '.join(_short(row))}" for row in rows)
    return Finding("ok", name, f"account {account}{when}, the first rows:{shown}")


def _short(row: dict[str, object]) -> Iterator[str]:
    for field, value in islice(row.items(), _SHOWN_FIELDS):
        text = str(value)
        yield f"{field}={text if len(text) <= _SHOWN_TEXT else text[:_SHOWN_TEXT] + '…'}"
