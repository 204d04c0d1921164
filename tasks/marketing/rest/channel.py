"""What a channel is to the engine: accounts, and the rows of a table for some days of one of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any, ClassVar, Required, TypedDict, Unpack

from tasks.marketing.rest.client import Client
from tasks.marketing.rest.clock import Clock
from tasks.sources.connector import Finding
from tasks.sources.window import Window

if TYPE_CHECKING:
    from tasks.marketing.rest.config import ChannelTable

ACCOUNT = "account_id"
"""Column that names the account of each row, in every table of every channel."""


@dataclass(frozen=True)
class Account:
    """One account of a service, with a calendar and a state of its own.

    Attributes:
        id: As the service knows it; text, for some have more digits than a number holds.
        timezone: IANA name of the zone whose days its reports are made of.
        name: For people.
        currency: ISO code of its money; empty where nobody knows.
        fields: What else requests need, such as the manager that an account is reached through.
    """

    id: str
    timezone: str = "UTC"
    name: str = ""
    currency: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.id} ({self.name})" if self.name else self.id


class _OfChannel(TypedDict, total=False):
    """What of a layout no configuration changes."""

    key: Required[Sequence[str]]
    day: str | None
    cursor: str | None
    state: bool
    types: Mapping[str, str]
    nulls: frozenset[str]
    oldest: int | None


@dataclass(frozen=True)
class Layout:
    """How the rows of a table are read and replaced.

    Attributes:
        key: Columns that identify a row within its account.
        day: Column of the day, for tables that are read by windows; None replaces all rows of an account.
        cursor: Column that grows with every change, for tables of which only what is new is read.
        state: Whether only what is new is read, by a position that the channel itself tells.
        types: Kinds of columns that arrive as text.
        nulls: The service's own spellings of nothing.
        lookback: Days after which the service changes a day no more.
        step: Days that one request may ask for.
        start: First day that is wanted; None means the lookback alone.
        oldest: Days that the service keeps; None where it tells no limit.
        current_day: Whether today is read, though it is not over.
        empty: What an account means that had rows and now has none: `fail`, or `accept` it.
    """

    key: Sequence[str]
    day: str | None = None
    cursor: str | None = None
    state: bool = False
    types: Mapping[str, str] = field(default_factory=dict)
    nulls: frozenset[str] = frozenset()
    lookback: int = 3
    step: int = 30
    start: date | None = None
    oldest: int | None = None
    current_day: bool = True
    empty: str = "fail"

    @property
    def incremental(self) -> bool:
        """Whether only what is new is read."""
        return self.state or self.cursor is not None

    @classmethod
    def of(
        cls, table: ChannelTable, *, lookback: int, step: int, most_step: int | None = None, **told: Unpack[_OfChannel]
    ) -> Layout:
        """Return the layout of a table: what sources.yaml says of its days, else the channel's own.

        Args:
            table: As sources.yaml has it.
            lookback: The channel's days, where the table says none.
            step: The channel's days of one request, where the table says none.
            most_step: Days that one request may ask for at most; None where the service sets no limit.
            told: What the channel alone knows.
        """
        steps = table.step.days if table.step else step
        return cls(
            **told,
            lookback=table.lookback.days if table.lookback else lookback,
            step=min(steps, most_step or steps),
            start=table.start,
            current_day=table.current_day,
            empty=table.empty,
        )


@dataclass(frozen=True)
class Ask:
    """What is asked of a channel.

    Attributes:
        table: Name of the table.
        account: Whose rows.
        window: Days; None for tables without.
        cursor: Greatest value of the cursor so far, or the channel's own position; None at the first time.
    """

    table: str
    account: Account
    window: Window | None = None
    cursor: str | None = None


@dataclass(frozen=True)
class Ending:
    """When something that a channel uses is switched off.

    Attributes:
        what: Name and version.
        day: Last day; None while nothing is announced.
        upgrade: What to do before.
    """

    what: str
    day: date | None
    upgrade: str


class Channel(ABC):
    """One source's service, open for reading."""

    ahead: ClassVar[int] = 1
    """How many asks `prepare` is told of."""

    @property
    @abstractmethod
    def clock(self) -> Clock:
        """The time that it goes by."""

    @property
    @abstractmethod
    def bytes(self) -> int:
        """Bytes that have come so far."""

    def prepare(self, asks: Sequence[Ask]) -> None:
        """Begin what takes the service its time: these are read next, in this order."""
        return

    @abstractmethod
    def accounts(self) -> list[Account]:
        """Return the accounts that are to be read.

        Raises:
            SourceError: They cannot be listed.
        """

    @abstractmethod
    def layout(self, table: str) -> Layout:
        """Return how a table is read."""

    @abstractmethod
    def read(self, ask: Ask) -> Iterator[dict[str, Any]]:
        """Yield the rows of one account.

        Raises:
            SkipAccount: This account cannot be read.
            SplitWindow, JobFailed: Fewer days may work.
            QuotaExhausted: Nothing more for now.
            SourceError: Nothing can be read.
        """

    def lacking(self) -> Iterator[Finding]:
        """Yield what the credentials lack, for services that tell of it apart from refusing to be read."""
        yield from ()

    def endings(self) -> Sequence[Ending]:
        """Return the versions that are in use, with their ends."""
        return ()

    def position(self, ask: Ask) -> str | None:
        """Return from where the next read goes on after a whole one, where no column tells it."""
        return None

    def warnings(self) -> Iterator[str]:
        """Yield what people should know of the rows that were read."""
        yield from ()

    @abstractmethod
    def close(self) -> None:
        """End what is open."""


class ApiChannel(Channel):
    """A service that is read over HTTP.

    Attributes:
        client: What requests are sent with.
    """

    client: Client

    @property
    def clock(self) -> Clock:
        """See `Channel`."""
        return self.client.clock

    @property
    def bytes(self) -> int:
        """See `Channel`."""
        return self.client.bytes

    def warnings(self) -> Iterator[str]:
        """See `Channel`."""
        yield from self.client.long_waits()

    def close(self) -> None:
        """Close connections."""
        self.client.__exit__()
