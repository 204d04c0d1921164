"""The seam between loading and what holds bronze: all that loading asks of a destination, and what it hands over.

Loading decides (names, columns, widenings, which documents stay out), a destination does: it keeps relations, writes a
batch, and gives rows back for verify. The control tables (`ops`) lie in Postgres whatever the destination is. Where
rows cannot share a transaction with them, a batch is committed at the destination first, with its `Outcome`; what `ops`
has to be told is in there, so that the next load can tell it when the first one was killed in between.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import polars as pl

from tasks.bronze.capabilities import Capabilities
from tasks.bronze.convert import Converted, convert, normal_keys
from tasks.bronze.plan import Column, RelationPlan
from tasks.landing import Landing, Manifest
from tasks.landing.manifest import Part, Scope
from tasks.ops import TableKey
from tasks.ops.pulls import DayHeld

if TYPE_CHECKING:
    from tasks.bronze.outcome import LoadResult, Outcome
    from tasks.sources.config import Rule

LandedPart: TypeAlias = tuple[Part, pl.DataFrame]
PlanOf: TypeAlias = Callable[[Part, pl.DataFrame], RelationPlan]
"""Gives the plan of the relation that takes a part: the same object as long as it stays the same."""
Counted: TypeAlias = dict[str, Counter[tuple[str, str]]]
"""By child and (path, kind) how many values."""
ROW = "_row"
"""Column that says where a row stands in its landed part."""


@dataclass(frozen=True)
class Stamp:
    """What every row written by one batch carries.

    Attributes:
        batch_id: The batch.
        extracted_at: When it was read from the source.
        loaded_at: By the clock of the control tables; taken under the table's lock, so that it grows from batch to
            batch.
    """

    batch_id: str
    extracted_at: datetime
    loaded_at: datetime


@dataclass
class Relation:
    """One relation of a batch: the table itself or the rows of one array.

    Attributes:
        plan: Its columns.
        name: Its name at the destination.
        exists: Whether it is there already.
        parts: The landed parts of its rows, each with the number of the decoder's flush: child rows share their roots'.
    """

    plan: RelationPlan
    name: str
    exists: bool
    parts: list[tuple[int, Part]]


@dataclass(frozen=True)
class Day:
    """A day of an account that a batch replaces; no day where a table has none."""

    account: str
    day: date | None
    final: bool


@dataclass(frozen=True)
class ReplacedDays:
    """The days that a batch of scope `account_days` replaces.

    Attributes:
        account: Path of the account.
        day: Path of the day; None for tables without days.
        days: Those that no later pull holds.
        left_out: How many a later pull holds, so that the batch's rows of them are left out.
    """

    account: str
    day: str | None
    days: Sequence[Day]
    left_out: int


@dataclass(frozen=True)
class Refused:
    """A row that the destination refused.

    Attributes:
        child: Its relation.
        file: The landed part.
        row: Where it stands in the part.
        key: Its `_id` as bronze writes it.
        reason: What the destination says.
    """

    child: str
    file: str
    row: int
    key: str
    reason: str


Pair: TypeAlias = tuple[Column, Column]
"""A new column and an old one of which it may be a new name."""


@dataclass(frozen=True)
class Batch:
    """A landed batch under its final plan, as a destination takes it.

    Attributes:
        landing: Where it is.
        manifest: What it says of itself.
        relations: Its relations, the table itself first.
        stamp: What its rows carry.
        history: The relation that takes every version of the table's rows, where there is one.
        hard_deletes: Whether rows that are gone are removed, and not marked.
        late: Whether later reads may be there: their rows stay as they are, and none is deleted.
        days: The days that it replaces, with a scope of days.
        rebuild: Whether it was loaded before, and is again.
        rules: Of the table; those that refer to another table are tried on what was written.
        pairs: Columns to compare in rows that are there and come again.
        frozen: By child the landed columns that no relation takes.
        held: By document the reason why it stays out.
        filled: New relations that were filled while the batch grew.
        refuse: Told each row that the destination cannot take, which may raise.
        refused: The rows that it was told.
    """

    landing: Landing
    manifest: Manifest
    relations: Sequence[Relation]
    stamp: Stamp
    history: str | None
    hard_deletes: bool
    late: bool
    days: ReplacedDays | None
    rebuild: bool
    rules: Sequence[Rule]
    pairs: Sequence[Pair]
    frozen: Mapping[str, Sequence[str]]
    held: Mapping[str, str]
    filled: Filling | None
    refuse: Callable[[Sequence[Refused]], None]
    refused: Sequence[Refused]

    @property
    def key(self) -> TableKey:
        """The table."""
        return TableKey(self.manifest.source, self.manifest.table)

    @property
    def scope(self) -> Scope:
        """What the rows mean for those that are there."""
        return self.manifest.scope

    @property
    def says_deletes(self) -> bool:
        """Whether a row may say that its document was deleted."""
        return "_op" in self.manifest.columns

    @property
    def plans(self) -> list[RelationPlan]:
        """The plans of all relations."""
        return [relation.plan for relation in self.relations]

    @property
    def row_parts(self) -> list[Part]:
        """All landed parts of rows and child rows."""
        return [part for relation in self.relations for _, part in relation.parts]

    def read(self, part: Part, columns: list[str] | None = None) -> pl.DataFrame:
        """Return a landed part as it is."""
        return self.landing.read(self.manifest, part, columns)

    def kept(self, child: str, landed: pl.DataFrame) -> pl.DataFrame:
        """Return what of a part is to be loaded: no documents that stay out, and no columns that nothing takes."""
        if not self.held and not self.frozen[child]:
            return landed
        key = "_root_id" if child else "_id"
        return landed.filter(~landed[key].is_in([*self.held])).drop(self.frozen[child], strict=False)

    def source_ids(self) -> Iterator[pl.DataFrame]:
        """Yield the complete list of the source's ids, where the batch has one."""
        for part in self.manifest.of_kind("ids"):
            yield self.read(part)

    def rejected(self) -> list[str]:
        """Return the ids of rejected documents, as far as they are known: they are at the source."""
        landed = [key for keys in self._rejects() for key in normal_keys(keys.drop_nulls())]
        held = normal_keys(pl.Series([*self.held], dtype=pl.String))
        return [*landed, *held, *(row.key for row in self.refused)]

    def knows_rejected(self) -> bool:
        """Return whether the id of every rejected document is known."""
        return not any(keys.null_count() for keys in self._rejects())

    def _rejects(self) -> Iterator[pl.Series]:
        for part in self.manifest.of_kind("rejects"):
            yield self.read(part)["_id"]


@dataclass
class Written:
    """What writing a batch did.

    Attributes:
        how: `first`, straight into new relations; `staged`, merged; or `none`, as there were no rows.
        rescued: Rows of the table with something in `_rescued`.
        misfits: Values that are in `_rescued` and nowhere else.
        sanitised: Values that are in their column in another form.
        compared: For each pair of the batch: rows that moved from the old column to the new, those with the same value,
            and how many distinct values; none where nothing was compared.
        days: What is held of the days that were replaced.
        warned: Documents that break a rule which refers to another table.
        warnings: Sentences.
    """

    how: Literal["first", "staged", "none"] = "none"
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0
    child_rows: int = 0
    rescued: int = 0
    misfits: Counted = field(default_factory=dict)
    sanitised: Counted = field(default_factory=dict)
    compared: Sequence[tuple[int, int, int]] = ()
    days: Sequence[DayHeld] = ()
    warned: int = 0
    warnings: list[str] = field(default_factory=list)

    def convert(self, landed: pl.DataFrame, plan: RelationPlan) -> pl.DataFrame:
        """Return rows in their relation's columns, and count what does not fit."""
        converted = convert(landed, plan)
        self.count(plan.child, converted)
        return converted.frame

    def count(self, child: str, converted: Converted) -> None:
        """Count what does not fit."""
        self.rescued += 0 if child else converted.rescued
        self.misfits.setdefault(child, Counter()).update(converted.misfits)
        self.sanitised.setdefault(child, Counter()).update(converted.sanitised)


@dataclass(frozen=True)
class StoredRow:
    """One row as a destination holds it.

    Attributes:
        version: The document's hash as hex, "" without one; of a child row `[_root_id, _parent_id, _position]`.
        live: Whether it is not marked as deleted.
        extracted_at: When its document was read.
        batch_id: The batch that brought it.
        rescued: Text of `_rescued`.
        values: One per column that was asked for, as `canonical.of_bronze` takes them.
    """

    version: Any
    live: bool
    extracted_at: str
    batch_id: str
    rescued: str | None
    values: Sequence[Any]


class Filling(Protocol):
    """New relations being filled from a batch while it grows; nothing counts before it is written as a whole."""

    stamp: Stamp

    def __contains__(self, child: str) -> bool:
        """Return whether a relation was made here."""

    def write(self, parts: Iterable[LandedPart | None]) -> str | None:
        """Take parts as they come; return why they do not fit together, None when all are in.

        Args:
            parts: Each once; None where none has come for a while.
        """

    def confirm(self, plans: Iterable[RelationPlan], parts: Iterable[Part]) -> str | None:
        """Return why what was written is not the whole batch under its final plans; None when it is."""


class Destination(Protocol):
    """What holds bronze's relations, within one unit of work: the transaction of `ops` where it shares that."""

    @property
    def capabilities(self) -> Capabilities:
        """Its limits."""

    # -- schema -----------------------------------------------------------------------------------------------

    def schema_of(self, relation: str) -> Mapping[str, str] | None:
        """Return the types of a relation's columns by name, None where there is no such relation."""

    def why_not_widen(self, relations: Sequence[str], old: Column, new: Column) -> str | None:
        """Return why a column of relations that have the same cannot be widened in place, as far as is known."""

    def holds_inexact(self, relations: Sequence[str], old: Column, new: Column) -> bool:
        """Return whether a value would be another with the wider type."""

    def change_columns(
        self, relations: Sequence[str], added: Sequence[Column], widened: tuple[Column, Column] | None
    ) -> str | None:
        """Add columns to relations that have the same, and widen one; all of them at one go.

        Whatever was done before is left: a step is asked for again after a kill. A column to add that is there with
        another type holds nothing, as nobody was told of it, and is made anew.

        Returns:
            None when done, else why the column cannot be widened; then nothing is done.
        """

    # -- rows -------------------------------------------------------------------------------------------------

    def misfits(self, batch: Batch) -> Counted:
        """Return which values would not fit if the batch were written; nothing is."""

    def fill(self, names: Mapping[str, str], stamp: Stamp, plan_of: PlanOf) -> Filling | None:
        """Begin to fill new relations from a batch that grows; None where batches are only taken whole."""

    def write(self, batch: Batch) -> Written:
        """Write a batch: new relations are made, and its rows, deletes and versions are brought in."""

    def replace(
        self,
        manifest: Manifest,
        names: Mapping[str, str],
        history: bool,
        load: Callable[[Mapping[str, str]], LoadResult],
    ) -> LoadResult:
        """Let a batch take the place of all rows of its table; readers see the old ones until it is committed.

        Args:
            manifest: The batch.
            names: By child the table's relations.
            history: Whether versions are kept; they go on.
            load: Loads it into the relations that it is given, by child.
        """

    def commit(self, key: TableKey, outcome: Outcome) -> None:
        """Commit what was written, with the outcome, at once; nothing to do where the transaction of `ops` does."""

    def committed_batch(self, key: TableKey) -> Outcome | None:
        """Return the outcome of the batch that a table was committed with last.

        None where there is none, or where the transaction of `ops` commits both.
        """

    # -- reading ----------------------------------------------------------------------------------------------

    def snapshot(self) -> AbstractContextManager[None]:
        """Let all reads within the block see one state."""

    def count(self, relation: str) -> int:
        """Return the number of rows that are not marked as deleted."""

    def bounds(self, relation: str, least_rows: int, most: int) -> list[str]:
        """Return keys, by byte order, that split a relation into ranges of about the same size.

        Args:
            relation: One that exists.
            least_rows: Of a range.
            most: Ranges.
        """

    def sums(self, relation: str, bounds: Sequence[str], *, child: bool) -> dict[int, tuple[int, int]]:
        """Return by number of the range how many live rows are in it, and the sum of their digests.

        The digest is of the key with the document's hash as hex, for child rows of the key alone: the first eight bytes
        of its SHA-256, as a signed number.
        """

    def rows(
        self,
        relation: str,
        columns: Sequence[Column],
        *,
        child: bool,
        ids: Sequence[str] | None = None,
        roots: Sequence[str] | None = None,
        between: tuple[str | None, str | None] = (None, None),
    ) -> dict[str, StoredRow]:
        """Return rows by `_id`: those of ids, of roots, or from a key up to below another by byte order."""
