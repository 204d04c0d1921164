"""The contract for a kind of source: all that flows, loading, verification, planning and the CLI ask of one.

A kind is a package with a subclass of `Connector` and a model of its configuration, and one line in
`tasks.sources.registry`. The subclass's module is imported by every command that reads sources.yaml, so it imports
drivers and Polars inside its methods only.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Protocol

from typing_extensions import TypeVar

from tasks.errors import ConfigError
from tasks.sources.config import Source, Table, TableRef

if TYPE_CHECKING:
    import polars as pl

    from tasks.extract import ExtractContext, ExtractResult
    from tasks.landing.manifest import Origin
    from tasks.sources.window import Window

CHECK_SECONDS = 5
"""A check is made by a person who waits: a server that does not answer this soon is reported, not waited for."""

_Source = TypeVar("_Source", bound=Source)
_Table = TypeVar("_Table", bound=Table)


@dataclass(frozen=True)
class Finding:
    """One thing that `warehouse check` looked at.

    Attributes:
        level: `ok`, `warning` (works, but somebody should know) or `wrong`.
        subject: What was looked at.
        message: What was found.
        action: What to do about it, empty when nothing is to be done.
    """

    level: Literal["ok", "warning", "wrong"]
    subject: str
    message: str
    action: str = ""


@dataclass(frozen=True)
class Sample:
    """Some documents of a table.

    Attributes:
        frame: The documents as they would land, transforms included.
        total: Documents in the table.
        children: By array that is a child table, frames of their elements; arrays that are not here are not compared.
    """

    frame: pl.DataFrame
    total: int
    children: Mapping[str, Sequence[pl.DataFrame]] = field(default_factory=dict)


@dataclass(frozen=True)
class Count:
    """How many rows a table has at its source.

    Attributes:
        rows: How many.
        counted: Whether they were counted; else the source's own books say so.
        deletes: Whether loading learns of deleted rows; else bronze may have more.
    """

    rows: int
    counted: bool
    deletes: bool


@dataclass(frozen=True)
class Offer:
    """Something that a source offers to be read.

    Attributes:
        name: As the source calls it.
        modes: Ways in which a table may read it.
        key: Fields that identify a row, where the source names them.
        fields: Its fields.
    """

    name: str
    modes: tuple[str, ...]
    key: tuple[str, ...]
    fields: tuple[str, ...]


@dataclass(frozen=True)
class Successor:
    """What a table that is gone at its source was probably renamed to.

    Attributes:
        name: As the source calls it.
        why: What speaks for it, for people.
        evidence: The same for the ledger; JSON.
    """

    name: str
    why: str
    evidence: Mapping[str, Any]


class Shared(Protocol):
    """What tables of one source share in a run, such as a change stream; used by the run's threads."""

    def state(self, ref: TableRef) -> dict[str, Any]:
        """Return the state from which a table is read in this run."""
        ...


@dataclass(frozen=True)
class Proposal:
    """A source as it could stand in sources.yaml.

    Attributes:
        source: Its name.
        yaml: The text of sources.yaml, with the reason for each choice.
        hashes: Whether values are hashed, which needs a key.
        lines: What was found and chosen, for people.
    """

    source: str
    yaml: str
    hashes: bool
    lines: tuple[str, ...]


class Connector(ABC, Generic[_Source, _Table]):
    """What can be done with one kind of source. One object serves a whole process, so it keeps no state.

    Attributes:
        config: The model of a source of this kind in sources.yaml, its tables included.
        reader: What `verify` reads a source by as loading does, so that a mistake in it is on both sides.
        repeats_keys: Whether one batch may hold a key several times, of which the last one counts.
        reads_whole: Whether a read from the beginning lands all that a table has, in one batch: then a reset puts it in
            the place of what bronze has, else it is merged.
    """

    config: ClassVar[type[Source]]
    reader: ClassVar[str] = "the connector of its kind"
    repeats_keys: ClassVar[bool] = False
    reads_whole: ClassVar[bool] = True

    # -- always needed ------------------------------------------------------------------------------------------

    @abstractmethod
    def check(self, name: str, source: _Source) -> Iterator[Finding]:
        """Look at a source: whether it answers, within `CHECK_SECONDS`, and whether its tables can be read.

        Args:
            name: The source's name.
            source: Its configuration.

        Raises:
            WarehouseError: Becomes a finding like any other.
        """

    @abstractmethod
    def mode(self, ref: TableRef[_Source, _Table]) -> str:
        """Return how a table is read, in one word; manifests and checkpoints carry it. `full` is all each time."""

    @abstractmethod
    def extract(self, ref: TableRef[_Source, _Table], context: ExtractContext) -> ExtractResult:
        """Read what is new in a table since `context.state` and land it.

        Raises:
            SourceError: The source could not be read; nothing was committed.
            LandingError: The landing could not be written; nothing was committed.
        """

    def offers(self, name: str, source: _Source) -> Iterator[Offer]:
        """Yield what a source offers to be read.

        Args:
            name: The source's name.
            source: Its configuration.

        Raises:
            SourceError: The source could not be read.
            ConfigError: Sources of this kind do not tell.
        """
        raise ConfigError("sources of this kind do not tell what they offer", name, "see the page of its kind")

    def propose(self, uri: str, database: str | None, name: str | None) -> Proposal:
        """Look at a source, read-only, and propose how to ingest it.

        Args:
            uri: Where it is.
            database: Which part of it; None where there is one only.
            name: Name of the source; None takes the database's.

        Raises:
            ConfigError: Nothing can be proposed.
        """
        raise ConfigError("sources of this kind cannot be proposed", uri, "write sources.yaml by hand")

    # -- the checkpoint's state: JSON that nothing but the connector looks into ---------------------------------

    def usable_state(self, ref: TableRef[_Source, _Table], state: Mapping[str, Any]) -> dict[str, Any]:
        """Return a state where it is one of the table as it is configured now, else none: all is read again.

        Raises:
            ConfigError: It has the right form and cannot be read.
        """
        return dict(state)

    def state_since(self, ref: TableRef[_Source, _Table], since: str) -> dict[str, Any]:
        """Return the state from which a table is read since a time.

        Args:
            ref: The table.
            since: ISO 8601; without a zone it is UTC.

        Raises:
            ConfigError: The table cannot be read since a time, or `since` is none.
        """
        raise ConfigError("this table cannot be read since a time", ref.name, "read all again instead")

    def describe_state(self, state: Mapping[str, Any]) -> str | None:
        """Return where the next run starts, as people read it; None where the JSON itself tells it best."""
        return None

    # -- days that are read again -------------------------------------------------------------------------------

    def estimate(self, ref: TableRef[_Source, _Table]) -> int | None:
        """Return about how many rows a read of a table brings at most, uncounted; None where it cannot tell.

        Raises:
            SourceError: The source could not be read.
        """
        return None

    def check_window(self, ref: TableRef[_Source, _Table], window: Window) -> None:
        """Say before a run whether a table can be read for certain days alone.

        Raises:
            ConfigError: It cannot.
        """
        raise ConfigError(
            "this table is not read by days",
            ref.name,
            "use `warehouse reset TABLE`, with --since where it has a cursor",
        )

    def requests(
        self, ref: TableRef[_Source, _Table], state: Mapping[str, Any], window: Window | None
    ) -> Iterator[str]:
        """Yield the requests that reading a table would send, as people read them; nothing is sent.

        Args:
            ref: The table.
            state: The checkpoint's state; empty means from the beginning.
            window: Days that are to be read again; None means what is due.
        """
        yield from ()

    # -- a whole read that several runs share -------------------------------------------------------------------

    def most_ranges(self, ref: TableRef[_Source, _Table], first: bool) -> int:
        """Return into how many ranges the table's next read may be split; 1 means not at all.

        Args:
            ref: The table.
            first: Whether everything is read, as the table was never loaded or is read anew.
        """
        return 1

    def plan(self, ref: TableRef[_Source, _Table], context: ExtractContext) -> tuple[str, int]:
        """Plan a batch that several runs will read, one range each, and return its id and the number of ranges."""
        raise NotImplementedError(f"{type(self).__name__} splits no read into ranges")

    def join(self, ref: TableRef[_Source, _Table], context: ExtractContext) -> ExtractResult:
        """Commit the batch `context.batch_id`, whose ranges were all read.

        Raises:
            LandingError: A range is missing.
        """
        raise NotImplementedError(f"{type(self).__name__} splits no read into ranges")

    # -- more that a kind may be able to do ---------------------------------------------------------------------

    def share(
        self, refs: Sequence[TableRef[_Source, _Table]], state_of: Callable[[TableRef], dict[str, Any]]
    ) -> Mapping[str, Shared]:
        """Open what tables of one source share in a run; nothing is read before the first of them asks.

        Args:
            refs: The tables of the source that this run reads as a whole.
            state_of: Returns the state that a table starts from; empty means from the beginning.

        Returns:
            By `source.table`; tables that share nothing are left out.
        """
        return {}

    def successor(
        self, ref: TableRef[_Source, _Table], before: Origin, known: Callable[[Sequence[str]], int]
    ) -> Successor | None:
        """Return what a table that is gone at its source was probably renamed to; None where nothing tells.

        Args:
            ref: The table.
            before: What its last batch was read from.
            known: Returns how many of some keys, as bronze spells them, are in the table.
        """
        return None

    def sample(self, ref: TableRef[_Source, _Table], documents: int) -> Sample | None:
        """Return up to so many documents taken at random; None where the source can only be read as a whole.

        Raises:
            SourceError: The source could not be read.
        """
        return None

    def count(self, refs: Sequence[TableRef[_Source, _Table]], seconds: float) -> Mapping[str, Count]:
        """Return how many rows tables of one source have there at this moment, where that takes no read of them.

        Args:
            refs: The tables.
            seconds: How long it may take for all of them.

        Returns:
            By `source.table`; tables of which it cannot be told in this time are left out.

        Raises:
            SourceError: The source does not answer.
        """
        return {}

    def recount(self, ref: TableRef[_Source, _Table]) -> int | None:
        """Count a table's rows at the source by another reader than extraction's; None where there is none.

        Raises:
            SourceError: The source could not be read.
        """
        return None

    def decode_reject(self, ref: TableRef[_Source, _Table], raw: bytes) -> dict[str, pl.DataFrame]:
        """Return a rejected document decoded anew: frames by child path, `""` for its row, transforms applied.

        Args:
            ref: The table.
            raw: The bytes that the reject has kept.

        Returns:
            Nothing where it still cannot be decoded.
        """
        return {}
