"""What a batch means for one relation: its columns, which of them are new or become wider, and what has to be told."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from tasks.bronze import kinds, names
from tasks.bronze.capabilities import POSTGRES, Capabilities
from tasks.landing.decoder import DOCUMENT

EXACT = {"double precision": "{}::text::numeric", "date": "{}::timestamp at time zone 'UTC'"}
"""How the values of a type are read as those of a wider one, exactly."""


@dataclass(frozen=True)
class Column:
    """Where the values of one document path go.

    Attributes:
        path: Path as landed.
        name: Column name, from the name map.
        kind: Established kind.
        stored: False when the path has no column and its values live in `_rescued`.
        vanished: Whether it is known that documents no longer carry it.
        new: Whether the batch at hand brought it.
    """

    path: str
    name: str
    kind: str
    stored: bool = True
    vanished: bool = False
    new: bool = False

    @property
    def pg_type(self) -> str:
        """Postgres type of the column."""
        return kinds.PG_TYPES[self.kind]


@dataclass(frozen=True)
class FieldChange:
    """One line for the ledger of schema changes."""

    field: str
    change: str
    action: str
    old_type: str | None = None
    new_type: str | None = None
    evidence: Mapping[str, object] = dataclasses.field(default_factory=dict)


@dataclass
class RelationPlan:
    """The columns of one relation for one batch.

    Attributes:
        child: Path of the array, empty for the table itself.
        capabilities: Of the destination.
        columns: By path the column that the name map knows after this batch, and where there are more, the first.
        added: Paths that the name map does not have yet.
        widened: Old column by path, where this batch needs a wider type in Postgres.
        refused: By path how many values the encoder for COPY could not write; they are in `_rescued`.
        retyped: Paths whose established kind changes in the name map.
        variants: By path the columns beside the first, each made for a wider kind than those before it could take.
        new_variants: By path why this batch adds one more column beside the others: the last of `variants`.
    """

    child: str
    columns: dict[str, Column]
    added: list[str] = dataclasses.field(default_factory=list)
    widened: dict[str, Column] = dataclasses.field(default_factory=dict)
    refused: Counter[str] = dataclasses.field(default_factory=Counter)
    retyped: set[str] = dataclasses.field(default_factory=set)
    variants: dict[str, list[Column]] = dataclasses.field(default_factory=dict)
    new_variants: dict[str, str] = dataclasses.field(default_factory=dict)
    capabilities: Capabilities = POSTGRES

    @property
    def every(self) -> list[Column]:
        """All columns that the name map knows after this batch."""
        return [*self.columns.values(), *itertools.chain(*self.variants.values())]

    @property
    def stored(self) -> list[Column]:
        """Columns that exist in the relation."""
        return [column for column in self.every if column.stored]

    @property
    def new(self) -> list[Column]:
        """Columns that the name map does not have yet."""
        return [*(self.columns[path] for path in self.added), *(self.variants[path][-1] for path in self.new_variants)]

    @property
    def is_full(self) -> bool:
        """Whether the relation has as many columns as it may."""
        return len(self.stored) >= self.capabilities.most_columns

    @property
    def changes_relation(self) -> bool:
        """Whether a relation that exists already needs DDL."""
        return bool(self.widened) or any(column.stored for column in self.new)

    def of(self, path: str) -> list[Column]:
        """Return the columns of a path, the first and those beside it, of which a row fills one at most."""
        return [self.columns[path], *self.variants.get(path, [])]

    def taking(self, path: str, kind: str) -> list[Column]:
        """Return the columns of a path that hold values of a kind; a later one only what those before it cannot."""
        return [column for column in self.of(path) if column.stored and kinds.takes(column.kind, kind)]

    def widest(self, path: str) -> str:
        """Return the kind that holds all that the columns of a path hold."""
        return _join(self.columns[path].kind, [column.kind for column in self.of(path)])

    def keep_narrow(self, path: str) -> None:
        """Take back a widening that is not possible; its values will be rescued."""
        self.columns[path] = self.widened.pop(path)
        self.retyped.discard(path)

    def add_variant(self, path: str, reason: str) -> None:
        """Take back a widening that is not possible; its values will be in a new column beside the old one."""
        kind = self.columns[path].kind
        self.keep_narrow(path)
        name = names.column_name(f"{path}.{kind}", [column.name for column in self.every], self.capabilities)
        self.variants.setdefault(path, []).append(Column(path, name, kind, new=True))
        self.new_variants[path] = reason

    def field_name(self, path: str) -> str:
        """Return how the ledger names a path: fields of an array's elements with `[]`."""
        if path == DOCUMENT:
            return self.columns[path].name
        return f"{self.child}[].{path}" if self.child else path


def make_plan(
    child: str,
    known: Sequence[Column],
    landed_columns: list[str],
    types: Mapping[str, Mapping[str, int]],
    *,
    declared: Mapping[str, str] = MappingProxyType({}),
    beyond_double: Container[str] = (),
    not_stored: Container[str] = (),
    capabilities: Capabilities = POSTGRES,
) -> RelationPlan:
    """Return the plan for one relation; pure, so that the same batch always gives the same columns.

    Args:
        child: Path of the array, empty for the table itself.
        known: The name map so far, in column order.
        landed_columns: Columns of the landed parts (`path|kind` and meta columns).
        types: By path the BSON types seen, with counts.
        declared: By path the kind that a column has by configuration, whatever values come.
        beyond_double: Paths with whole numbers that no double represents: what would be one becomes a decimal.
        not_stored: New paths that get no column: their values live in `_rescued`.
        capabilities: Of the destination.
    """
    plan = RelationPlan(child, {}, capabilities=capabilities)
    for column in known:
        if plan.columns.setdefault(column.path, column) is not column:
            plan.variants.setdefault(column.path, []).append(column)
    landed = kinds.landed_kinds(landed_columns)
    weights = kinds.counts(landed, types)
    for path, seen in landed.items():
        if path in plan.columns and declared.get(path) != plan.columns[path].kind:
            _widen(plan, path, seen, path in beyond_double)
    taken = {column.name for column in known}
    named: dict[str, str] = {}
    # Small letters first, so that of `total` and `Total` the plain one keeps its name whatever the order of documents.
    for path in sorted((path for path in landed if path not in plan.columns), key=lambda p: (p.lower(), p.swapcase())):
        named[path] = names.column_name(path, taken, capabilities)
        taken.add(named[path])
    room = capabilities.most_columns - len(plan.stored)
    for path in landed:
        if path in named:
            stored = path not in not_stored and room > 0
            room -= stored
            kind = declared.get(path) or _exact(kinds.weigh(weights[path]), path in beyond_double)
            plan.columns[path] = Column(path, named[path], kind, stored, new=True)
            plan.added.append(path)
    return plan


def _exact(kind: str, beyond_double: bool) -> str:
    """Return the kind that holds what a kind is to hold, where whole numbers that no double represents are among it."""
    return kinds.EXACT_OF_DOUBLE if beyond_double and kind == "double" else kind


def _widen(plan: RelationPlan, path: str, seen: Sequence[str], beyond_double: bool) -> None:
    column, widest = plan.columns[path], plan.widest(path)
    kind = _exact(_join(widest, sorted(seen)), beyond_double and column.stored and "int" in seen)
    if kind != widest:
        plan.columns[path] = replace(column, kind=kind)
        plan.retyped.add(path)
        # The name map alone changes where no column is stored, or where both kinds have the same type.
        types = plan.capabilities.types
        if column.stored and types[kind] != types[column.kind]:
            plan.widened[path] = column


def _join(kind: str, others: Sequence[str]) -> str:
    """Return the kind that holds a kind and those of the others that can be held with it."""
    for other in others:
        kind = kinds.wider(kind, other) or kind
    return kind


def changes_of(plan: RelationPlan, reason_not_stored: str = "") -> list[FieldChange]:
    """Return what the plan itself means for the ledger: fields that appeared and columns that became wider."""
    found: list[FieldChange] = []
    for path in plan.added:
        column = plan.columns[path]
        action = f"column {column.name} added" if column.stored else f"kept in _rescued: {reason_not_stored}"
        found.append(FieldChange(plan.field_name(path), "appeared", action, None, column.pg_type))
    found += [widening(plan, old, plan.columns[path]) for path, old in plan.widened.items()]
    for path, reason in plan.new_variants.items():
        first, *_, new = columns = plan.of(path)
        action = f"column {new.name} added beside {first.name}: {reason}"
        evidence = {"dbt": f"{reading(columns)} as {quoted(first.name)}"}
        found.append(FieldChange(plan.field_name(path), "widened", action, first.pg_type, new.pg_type, evidence))
    return found


def widening(plan: RelationPlan, old: Column, new: Column) -> FieldChange:
    """Return the line for a column that takes a wider kind."""
    action = f"column {new.name} widened"
    return FieldChange(plan.field_name(new.path), "widened", action, old.pg_type, new.pg_type)


def reading(columns: Sequence[Column]) -> str:
    """Return the SQL that reads several columns as one, exactly, the last one first.

    By itself Postgres would make doubles of numbers of several types, and of a day its midnight in the session's time
    zone.
    """
    casts = EXACT if len({column.pg_type for column in columns}) > 1 else {}
    terms = (casts.get(column.pg_type, "{}").format(quoted(column.name)) for column in reversed(columns))
    return f"coalesce({', '.join(terms)})"


def quoted(name: str) -> str:
    """Return a name as SQL writes it."""
    return '"' + name.replace('"', '""') + '"'
