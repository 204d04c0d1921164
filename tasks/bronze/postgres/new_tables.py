"""Filling a table's new relations by COPY from parts as they come, whether their batch is whole or still growing.

A whole batch comes with its plan. Of a growing one only the parts so far are known, while names and types of columns
follow from all of it: so its plan is a guess (`SeenPlans`), and what was written counts once the manifest's plan and
list of files confirm it.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC
from typing import Any

import polars as pl
import psycopg
from psycopg import errors, sql

from tasks.bronze.convert import Converted, convert
from tasks.bronze.destination import Counted, LandedPart, PlanOf, Stamp
from tasks.bronze.plan import RelationPlan
from tasks.bronze.postgres import ddl, stage
from tasks.landing import Part
from tasks.overlap import read_ahead

# Of a new relation these are added once it is filled, so that they need neither travel nor be stored with every row.
_LATER = ("_batch_id", "_extracted_at", "_loaded_at", "_deleted_at")
# Looks in vain after which a COPY ends: while it waits for rows nobody learns that its connection is lost.
_VAIN_LOOKS = 10


_REFUSED = (errors.UniqueViolation, psycopg.DataError, errors.ProgramLimitExceeded)
"""What Postgres says of rows that cannot be copied straight into a new relation."""


@dataclass(frozen=True)
class _Ready:
    """A part on its way into its relation."""

    part: Part
    plan: RelationPlan
    converted: Converted


class NewTables:
    """The new relations of one batch being filled, within one transaction.

    Args:
        cursor: In a transaction.
        names: By child path the relations.
        stamp: What all rows carry.
        plan_of: Gives the plan of the relation that takes a part; called where parts are made, apart from the cursor.
        existing: Children whose relation exists and is empty; the others are created.

    Attributes:
        misfits, sanitised, rescued: As `convert` counts them.
    """

    def __init__(
        self,
        cursor: psycopg.Cursor[Any],
        names: Mapping[str, str],
        stamp: Stamp,
        plan_of: PlanOf,
        existing: Container[str] = (),
    ) -> None:
        self._cursor = cursor
        self._names = names
        self._plan_of = plan_of
        self._existing = existing
        self._tables: dict[str, _NewTable] = {}
        self._parts: dict[str, Part] = {}
        self._next: _Ready | None = None
        self.stamp = stamp
        self.misfits: Counted = {}
        self.sanitised: Counted = {}
        self.rescued = 0

    def __contains__(self, child: str) -> bool:
        """Return whether a relation was made here."""
        return child in self._tables

    def write(self, parts: Iterable[LandedPart | None]) -> str | None:
        """Copy parts as they come, as many as can be by one COPY.

        Args:
            parts: Each once; None where none has come for a while.

        Returns:
            Why what was written does not fit what came after it, or what Postgres says of a row that it refused: this
            ends the writing, and the transaction has to be rolled back. None when all is in.
        """
        try:
            return self._write(parts)
        except _REFUSED as error:
            return str(error)

    def _write(self, parts: Iterable[LandedPart | None]) -> str | None:
        with closing(read_ahead(map(self._ready, parts))) as ready:
            for self._next in ready:
                while self._next is not None:
                    plan = self._next.plan
                    if (reason := self._adopt(plan)) is not None:
                        return reason
                    self._tables[plan.child].copy(self._frames(plan, ready))
        return None

    def confirm(self, plans: Iterable[RelationPlan], parts: Iterable[Part]) -> str | None:
        """Compare what was written with the whole batch, and finish the relations: other columns, keys, statistics.

        Args:
            plans: Of all relations of the batch.
            parts: All its parts of rows and child rows.

        Returns:
            Why what was written is not of this batch under these plans, or that an `_id` is there twice: then it must
            not be committed. None when it is.
        """
        listed = {part.file: part for part in parts}
        for file in sorted(listed.keys() | self._parts.keys()):
            if listed.get(file) != self._parts.get(file):
                return f"{file} is not of the batch as it was copied"
        for plan in plans:
            if (reason := self._adopt(plan)) is not None:
                return reason
        try:
            for table in self._tables.values():
                table.finish()
        except _REFUSED as error:
            return str(error)
        return None

    def _ready(self, landed: LandedPart | None) -> _Ready | None:
        if landed is None:
            return None
        plan = self._plan_of(*landed)
        return _Ready(landed[0], plan, convert(landed[1], plan))

    def _frames(self, plan: RelationPlan, ready: Iterator[_Ready | None]) -> Iterator[pl.DataFrame]:
        """Yield converted frames as far as the plan goes: up to one of another relation, or with a new column."""
        while self._next is not None and self._next.plan is plan:
            part, converted = self._next.part, self._next.converted
            self.rescued += 0 if part.child else converted.rescued
            self.misfits.setdefault(part.child, Counter()).update(converted.misfits)
            self.sanitised.setdefault(part.child, Counter()).update(converted.sanitised)
            yield converted.frame
            self._parts[part.file] = part
            self._next = next(filter(None, itertools.islice(ready, _VAIN_LOOKS)), None)

    def _adopt(self, plan: RelationPlan) -> str | None:
        """Bring a relation to a plan; return why what is in it does not allow that, None when done."""
        table = self._tables.get(plan.child)
        if table is not None:
            return table.grow(plan)
        if plan.child not in self._names:
            return f"rows of {plan.child} have no relation yet"
        self._tables[plan.child] = _NewTable(
            self._cursor, self._names[plan.child], plan, self.stamp, fresh=plan.child not in self._existing
        )
        return None


class _NewTable:
    """One relation being filled by COPY: nothing to compare with, keys and indexes made once the rows are in.

    Args:
        cursor: In a transaction.
        name: The relation.
        plan: Its columns.
        stamp: What all of its rows carry.
        fresh: Whether the relation is to be created; else it exists and is empty, and its columns cannot be given
            defaults without a lock.
    """

    def __init__(
        self, cursor: psycopg.Cursor[Any], name: str, plan: RelationPlan, stamp: Stamp, *, fresh: bool
    ) -> None:
        self._cursor = cursor
        self._name = name
        self._target = ddl.relation(name)
        self._plan = plan
        self._fresh = fresh
        self._constants = {
            "_batch_id": stamp.batch_id,
            "_extracted_at": stamp.extracted_at.astimezone(UTC),
            "_loaded_at": stamp.loaded_at.astimezone(UTC),
        }
        if fresh:
            ddl.create_relation(cursor, name, plan, without=_LATER)

    def grow(self, plan: RelationPlan) -> str | None:
        """Take a plan that has the same columns and more; return why it is none, or None."""
        if plan is self._plan:
            return None
        for path, column in self._plan.columns.items():
            found = plan.columns.get(path)
            if found is None or replace(found, vanished=column.vanished) != column:
                return f"{self._plan.field_name(path)} turned out to be otherwise than its first parts"
        known = {column.name for column in self._plan.stored}
        ddl.change_columns(self._cursor, [self._name], [column for column in plan.stored if column.name not in known])
        plan.refused.update(self._plan.refused)
        self._plan = plan
        return None

    def copy(self, frames: Iterable[pl.DataFrame]) -> None:
        """Copy converted rows.

        Raises:
            psycopg.DataError: Postgres refused a row.
        """
        own = [pair for pair in ddl.meta_after(self._plan.child) if pair[0] in ("_rescued", "_hash")]
        stored = ((column.name, column.pg_type) for column in self._plan.stored)
        types = [*own[::-1], *ddl.meta_before(self._plan.child), *stored]
        if not self._fresh:
            types += [pair for pair in ddl.META_AFTER if pair[0] in self._constants]
            constants = [pl.lit(value).alias(name) for name, value in self._constants.items()]
            frames = (frame.with_columns(constants) for frame in frames)
        # Frozen rows need no later pass over them; Postgres takes them where the relation is of this subtransaction.
        stage.copy_rows(self._cursor, self._target, frames, types, self._plan, freeze=self._fresh)

    def finish(self) -> None:
        """Make keys and statistics.

        Raises:
            psycopg.errors.UniqueViolation: An `_id` is there twice.
        """
        if self._fresh:
            self._cursor.execute(_added(self._target, self._constants))
            self._cursor.execute(_without_defaults(self._target, self._constants))
            ddl.add_keys(self._cursor, self._name, self._plan.child)
        self._cursor.execute(sql.SQL("analyze {}").format(self._target))


def _added(target: sql.Composable, values: Mapping[str, object]) -> sql.Composed:
    # Postgres keeps the default of a column added with one in its catalogue, and gives it to the rows that are there.
    actions = sql.SQL(", ").join(
        sql.SQL("add column {} {} default {}").format(
            sql.Identifier(name), sql.SQL(pg_type), sql.Literal(values.get(name))
        )
        for name, pg_type in ddl.META_AFTER
        if name in _LATER
    )
    return sql.SQL("alter table {} {}").format(target, actions)


def _without_defaults(target: sql.Composable, names: Iterable[str]) -> sql.Composed:
    actions = sql.SQL(", ").join(sql.SQL("alter column {} drop default").format(sql.Identifier(name)) for name in names)
    return sql.SQL("alter table {} {}").format(target, actions)
