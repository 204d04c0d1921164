"""Filling new relations by direct COPY: nothing to compare with, keys and indexes made once the rows are in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC
from typing import Any

import polars as pl
import psycopg
from psycopg import sql

from tasks.bronze import ddl, merge, stage
from tasks.bronze.plan import Plan

_LATER = ("_batch_id", "_extracted_at", "_loaded_at", "_deleted_at")


class Filling:
    """One relation being filled, within one transaction.

    Args:
        cursor: In a transaction.
        name: The relation.
        plan: Its columns.
        stamp: What all of its rows carry. A new relation gets these columns once it is filled, so that it need neither
            travel nor be stored with every row; a default of one that exists could not be set without a lock.
        fresh: Whether the relation is to be created; else it exists and is empty.
    """

    def __init__(
        self,
        cursor: psycopg.Cursor[Any],
        name: str,
        plan: Plan,
        stamp: merge.Stamp,
        *,
        fresh: bool = True,
    ) -> None:
        self._cursor = cursor
        self._target = ddl.relation(name)
        self.name = name
        self.plan = plan
        self._fresh = fresh
        self._constants = {
            "_batch_id": stamp.batch_id,
            "_extracted_at": stamp.extracted_at.astimezone(UTC),
            "_loaded_at": stamp.loaded_at.astimezone(UTC),
        }
        if fresh:
            ddl.create_relation(cursor, name, plan, without=_LATER)

    def grow(self, plan: Plan) -> None:
        """Take a plan that has the same columns and more."""
        known = {column.name for column in self.plan.stored}
        ddl.change_columns(self._cursor, [self.name], [column for column in plan.stored if column.name not in known])
        plan.refused.update(self.plan.refused)
        self.plan = plan

    def copy(self, frames: Iterable[pl.DataFrame]) -> None:
        """Copy converted rows.

        Raises:
            psycopg.DataError: Postgres refused a row.
        """
        own = [pair for pair in ddl.meta_after(self.plan.child) if pair[0] in ("_rescued", "_hash")]
        stored = ((column.name, column.pg_type) for column in self.plan.stored)
        types = [*own[::-1], *ddl.meta_before(self.plan.child), *stored]
        if not self._fresh:
            types += [pair for pair in ddl.META_AFTER if pair[0] in self._constants]
            constants = [pl.lit(value).alias(name) for name, value in self._constants.items()]
            frames = (frame.with_columns(constants) for frame in frames)
        # Frozen rows need no later pass over them; Postgres takes them where the relation is of this subtransaction.
        stage.copy_rows(self._cursor, self._target, frames, types, self.plan, freeze=self._fresh)

    def finish(self) -> None:
        """Make keys and statistics.

        Raises:
            psycopg.errors.UniqueViolation: An `_id` is there twice.
        """
        if self._fresh:
            self._cursor.execute(_added(self._target, self._constants))
            self._cursor.execute(_without_defaults(self._target, self._constants))
            ddl.add_keys(self._cursor, self.name, self.plan.child)
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
