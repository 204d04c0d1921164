"""Bronze in the database of the control tables: the transaction that tells these of a batch commits its rows, too."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from tasks.bronze.capabilities import POSTGRES, Capabilities
from tasks.bronze.destination import Batch, Counted, PlanOf, Stamp, StoredRow, Written
from tasks.bronze.plan import Column
from tasks.bronze.postgres import ddl, merge, reading, replace
from tasks.bronze.postgres.new_tables import NewTables
from tasks.bronze.postgres.writer import Writer
from tasks.landing import Manifest
from tasks.ops import TableKey

if TYPE_CHECKING:
    from tasks.bronze.outcome import LoadResult, Outcome


class Postgres:
    """See `destination.Destination`.

    Args:
        cursor: In the transaction that the control tables are told in.
        capabilities: Its limits.
    """

    def __init__(self, cursor: psycopg.Cursor[Any], capabilities: Capabilities = POSTGRES) -> None:
        self._cursor = cursor
        self._capabilities = capabilities
        self._has_staged = False

    @property
    def capabilities(self) -> Capabilities:
        """Its limits."""
        return self._capabilities

    # -- schema -----------------------------------------------------------------------------------------------

    def schema_of(self, relation: str) -> Mapping[str, str] | None:
        """Return the types of a relation's columns by name, None where there is no such relation."""
        rows = self._cursor.execute(
            "select attname, format_type(atttypid, atttypmod) from pg_attribute"
            " where attrelid = to_regclass(%s) and attnum > 0 and not attisdropped",
            [ddl.relation(relation).as_string(self._cursor)],
        ).fetchall()
        return dict(rows) or None

    def why_not_widen(self, relations: Sequence[str], old: Column, new: Column) -> str | None:
        """Return why a column cannot be widened in place; None where nothing is known."""
        return ddl.why_not_rewrite(self._cursor, relations)

    def holds_inexact(self, relations: Sequence[str], old: Column, new: Column) -> bool:
        """Return whether a value would be another with the wider type."""
        return ddl.inexact(self._cursor, relations, old, new)

    def change_columns(
        self, relations: Sequence[str], added: Sequence[Column], widened: tuple[Column, Column] | None
    ) -> str | None:
        """Add columns and widen one; return why it cannot be widened."""
        return ddl.change_columns(self._cursor, relations, added, widened)

    # -- rows -------------------------------------------------------------------------------------------------

    def misfits(self, batch: Batch) -> Counted:
        """Return which values would not fit if the batch were written."""
        return self._writer(batch).misfits()

    def fill(self, names: Mapping[str, str], stamp: Stamp, plan_of: PlanOf) -> NewTables:
        """Begin to fill new relations from a batch that grows."""
        return NewTables(self._cursor, names, stamp, plan_of)

    def write(self, batch: Batch) -> Written:
        """Write a batch."""
        return self._writer(batch).write()

    def replace(
        self,
        manifest: Manifest,
        names: Mapping[str, str],
        history: bool,
        load: Callable[[Mapping[str, str]], LoadResult],
    ) -> LoadResult:
        """Let a batch take the place of all rows of its table."""
        return replace.replace(self._cursor, manifest, names, history, load)

    def commit(self, key: TableKey, outcome: Outcome) -> None:
        """Do nothing: the transaction of the control tables commits."""

    def committed_batch(self, key: TableKey) -> None:
        """Return nothing: the control tables have been told of every batch that was committed."""

    def _writer(self, batch: Batch) -> Writer:
        if self._has_staged:
            # The temporary tables of the batch before live until the transaction ends.
            merge.drop_stages(self._cursor)
        self._has_staged = True
        return Writer(self._cursor, batch)

    # -- reading ----------------------------------------------------------------------------------------------

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Let all reads within the block see one state."""
        with self._cursor.connection.transaction():
            self._cursor.execute("set transaction isolation level repeatable read")
            yield

    def count(self, relation: str) -> int:
        """Return the number of rows that are not marked as deleted."""
        counted = sql.SQL("select count(*) from {} where _deleted_at is null").format(ddl.relation(relation))
        [[found]] = self._cursor.execute(counted).fetchall()
        return int(found)

    def bounds(self, relation: str, least_rows: int, most: int) -> list[str]:
        """Return keys that split a relation into ranges of about the same size."""
        return reading.bounds(self._cursor, relation, least_rows, most)

    def sums(self, relation: str, bounds: Sequence[str], *, child: bool) -> dict[int, tuple[int, int]]:
        """Return by number of the range how many live rows are in it, and the sum of their digests."""
        return reading.sums(self._cursor, relation, bounds, child=child)

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
        """Return rows by `_id`."""
        conditions, (low, high) = reading.chosen(ids, roots, between), between
        parameters = {"ids": ids, "roots": roots, "low": low, "high": high}
        return reading.rows_of(self._cursor, relation, columns, conditions, parameters, child=child)
