"""What the product can do with every kind of channel, and with `kind: rest`; see `tasks.sources.connector`."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from typing_extensions import TypeVar

from tasks.errors import ConfigError
from tasks.marketing.rest.config import ChannelSource, ChannelTable, RestSource
from tasks.sources.config import TableRef
from tasks.sources.connector import Connector, Finding

if TYPE_CHECKING:
    from tasks.extract import ExtractContext, ExtractResult
    from tasks.marketing.rest.channel import Channel
    from tasks.marketing.rest.common import Common
    from tasks.marketing.rest.declared import DeclaredChannel
    from tasks.sources.window import Window

_Source = TypeVar("_Source", bound=ChannelSource)


class ChannelConnector(Connector[_Source, ChannelTable]):
    """A channel: everything but how its service is opened is the same for all.

    An account may fail, and services keep their days for a while only.
    """

    reads_whole = False

    @abstractmethod
    def open(self, name: str, source: _Source, common: Common) -> Channel:
        """Open the service of a source; nothing is asked of it yet."""

    def mode(self, ref: TableRef[_Source, ChannelTable]) -> str:
        """See `Connector`."""
        return "incremental" if getattr(ref.table, "cursor", None) else "window"

    def check(self, name: str, source: _Source) -> Iterator[Finding]:
        """See `Connector`."""
        from tasks.marketing.rest.check import check
        from tasks.marketing.rest.clock import MACHINE
        from tasks.marketing.rest.common import Common
        from tasks.marketing.rest.tokens import token_store
        from tasks.settings import get_settings

        # Turns of this process alone: a source can be checked without a warehouse.
        return check(name, source, self.open(name, source, Common(token_store(get_settings()), MACHINE)))

    def extract(self, ref: TableRef[_Source, ChannelTable], context: ExtractContext) -> ExtractResult:
        """See `Connector`."""
        from tasks.marketing.rest.extract import extract_table

        return extract_table(ref, context, lambda: self._open(ref.source_name, ref.source))

    def state_since(self, ref: TableRef[_Source, ChannelTable], since: str) -> dict[str, Any]:
        """See `Connector`."""
        if self.mode(ref) == "incremental":
            raise ConfigError("this table is read by a cursor of its own", ref.name, "read all again instead")
        try:
            return {"since": datetime.fromisoformat(since).date().isoformat()}
        except ValueError:
            raise ConfigError(f"{since!r} is no day", ref.name, "write it as 2026-11-23") from None

    def check_window(self, ref: TableRef[_Source, ChannelTable], window: Window) -> None:
        """See `Connector`."""
        from contextlib import closing

        from tasks.marketing.rest.state import first_kept

        with closing(self._open(ref.source_name, ref.source)) as channel:
            layout, today = channel.layout(ref.table_name), channel.clock.now().date()
        if layout.day is None:
            raise ConfigError("this table is not read by days", ref.name, "run it without days: all of it is read")
        if window.first > today:
            raise ConfigError(f"{window.first} has not begun", ref.name, "name days that are over")
        if window.last < (kept := first_kept(layout, today)):
            raise ConfigError(
                f"the service keeps {layout.oldest} days, {window.last} is older", ref.name, f"begin at {kept}"
            )

    def describe_state(self, state: Mapping[str, Any]) -> str | None:
        """See `Connector`."""
        accounts = state.get("accounts", {})
        finals = [found["final"][-1][1] for found in accounts.values() if found.get("final")]
        final = f", final up to {min(finals)}" if finals else ""
        backfill = state.get("backfill")
        open_days = (
            f", backfill of {' to '.join(backfill['days'])} goes on" if backfill and not backfill["ended"] else ""
        )
        return f"{len(accounts)} account(s){final}{open_days}"

    def _open(self, name: str, source: _Source) -> Channel:
        """Open the service as a run does: its turns are kept in the warehouse, for all processes that read it."""
        from tasks.marketing.rest.budget import SharedTurns
        from tasks.marketing.rest.clock import MACHINE
        from tasks.marketing.rest.common import Common
        from tasks.marketing.rest.tokens import token_store
        from tasks.settings import get_settings

        return self.open(name, source, Common(token_store(get_settings()), MACHINE, SharedTurns))


class DeclaredConnector(ChannelConnector[_Source]):
    """An API whose requests are described, so that they can be told before they are sent."""

    @abstractmethod
    def open(self, name: str, source: _Source, common: Common) -> DeclaredChannel:
        """See `ChannelConnector`."""

    def requests(
        self, ref: TableRef[_Source, ChannelTable], state: Mapping[str, Any], window: Window | None
    ) -> Iterator[str]:
        """See `Connector`."""
        from contextlib import closing

        from tasks.marketing.rest.auth import MemoryTokens
        from tasks.marketing.rest.channel import Account
        from tasks.marketing.rest.clock import Clock
        from tasks.marketing.rest.common import Common
        from tasks.marketing.rest.rounds import Rounds
        from tasks.marketing.rest.state import TableState

        before = TableState.read(state)
        with closing(self.open(ref.source_name, ref.source, Common(MemoryTokens(), Clock()))) as channel:
            yield from map(channel.client.shown, channel.account_requests())
            names = before.accounts or ["{account}"]
            accounts = channel.known_accounts() or [Account(name, channel.timezone) for name in names]
            now = channel.clock.now()
            for asks in Rounds(ref, channel.layout(ref.table_name), accounts, before, window, now):
                for ask in asks:
                    days = f" ({ask.window.first} to {ask.window.last})" if ask.window else ""
                    for request in channel.requests(ask):
                        yield f"{channel.client.shown(request)}{days}"


class RestConnector(DeclaredConnector[RestSource]):
    """An API that sources.yaml describes."""

    config = RestSource

    def open(self, name: str, source: RestSource, common: Common) -> DeclaredChannel:
        """See `ChannelConnector`."""
        from tasks.marketing.rest.declared import DeclaredChannel

        return DeclaredChannel(name, source, common)
