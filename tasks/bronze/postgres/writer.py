"""Writing one batch into Postgres: straight into new relations, or staged in temporary tables and merged."""

from __future__ import annotations

from collections.abc import Generator
from datetime import datetime, timedelta
from typing import Any

import polars as pl
import psycopg
from psycopg import sql

from tasks.bronze.convert import Converted, convert
from tasks.bronze.destination import ROW, Batch, Counted, Refused, Relation, Written
from tasks.bronze.postgres import ddl, delta, merge, references, renames, stage
from tasks.bronze.postgres.account_days import AccountDays
from tasks.bronze.postgres.new_tables import NewTables
from tasks.landing import PartitionScope
from tasks.landing.manifest import Part
from tasks.overlap import read_ahead

_NOT_HELD = sql.SQL("t._id <> all(%(held)s::text[])")


class Writer:
    """The rows of one batch on their way into Postgres.

    Args:
        cursor: In a transaction, with no temporary tables of another batch.
        batch: The batch.
    """

    def __init__(self, cursor: psycopg.Cursor[Any], batch: Batch) -> None:
        self._cursor = cursor
        self._batch = batch
        self._stamp = batch.stamp
        self._delta: delta.Delta | None = None
        self._days: AccountDays | None = None
        self._track = len(batch.relations) > 1 or batch.history is not None
        self._written = Written()

    def write(self) -> Written:
        """Write the rows."""
        batch, written = self._batch, self._written
        root = batch.relations[0]
        if batch.days is not None:
            self._days = AccountDays(self._cursor, batch.days)
        tables = batch.filled
        if tables is None and self._may_be_copied():
            tables = self._copied()
        if isinstance(tables, NewTables):
            self._count_first(tables)
        else:
            self._load_staged()
            written.how = "staged" if root.parts else "none"
        if not batch.rebuild:
            if self._days is not None:
                written.days = self._days.held(root.name, root.plan)
            self._try_references()
        return written

    def _try_references(self) -> None:
        batch, written = self._batch, self._written
        rows = references.Written(
            batch.key,
            self._stamp.batch_id,
            {relation.plan.child: (relation.name, relation.plan) for relation in batch.relations},
            staged=written.how != "first",
        )
        broken = references.broken_by(self._cursor, batch.rules, rows)
        written.warned = broken.documents
        written.warnings += broken.warnings

    def misfits(self) -> Counted:
        """Convert all rows that would be written, for nothing but what does not fit."""
        self._find_delta()
        for relation in self._batch.relations:
            for _ in self._converted(relation):
                pass
        return self._written.misfits

    # -- new relations ----------------------------------------------------------------------------------------

    def _may_be_copied(self) -> bool:
        """Return whether there are rows, and all may go straight into relations that are new or empty."""
        batch = self._batch
        if not batch.row_parts or batch.held or batch.says_deletes:
            return False
        if batch.days is not None and batch.days.left_out:
            return False
        return all(
            not relation.exists or (batch.history is None and ddl.empty(self._cursor, relation.name))
            for relation in batch.relations
        )

    def _copied(self) -> NewTables | None:
        """Copy straight into new relations, keys afterwards; None when a value or key needs the careful way."""
        batch = self._batch
        by_child = {relation.plan.child: relation for relation in batch.relations}
        tables = NewTables(
            self._cursor,
            {child: relation.name for child, relation in by_child.items()},
            self._stamp,
            lambda part, _: by_child[part.child].plan,
            existing={child for child, relation in by_child.items() if relation.exists},
        )
        parts = (
            (part, batch.kept(relation.plan.child, batch.read(part)))
            for relation in batch.relations
            for _, part in relation.parts
        )
        copied = False
        with self._cursor.connection.transaction() as savepoint:
            if (tables.write(parts) or tables.confirm(batch.plans, batch.row_parts)) is not None:
                raise psycopg.Rollback(savepoint)
            copied = True
        if copied:
            return tables
        for plan in batch.plans:
            plan.refused.clear()
        return None

    def _count_first(self, tables: NewTables) -> None:
        """Note what was written into new relations, and begin their history."""
        written, manifest = self._written, self._batch.manifest
        written.how = "first"
        written.misfits, written.sanitised, written.rescued = tables.misfits, tables.sanitised, tables.rescued
        written.inserted = manifest.rows
        written.child_rows = sum(part.rows for part in manifest.of_kind("child"))
        self._write_history()

    # -- staging ----------------------------------------------------------------------------------------------

    def _load_staged(self) -> None:
        cursor, batch = self._cursor, self._batch
        root, *children = batch.relations
        self._find_delta()
        for number in range(len(batch.relations)):
            self._stage(number)
        may_repeat = self._delta is None or self._delta.repeated
        if may_repeat and (merge.keep_last(cursor, merge.STAGE) or self._delta is not None):
            for number, _ in enumerate(children, 1):
                merge.keep_last_children(cursor, merge.stage_name(number))
        if self._days is not None:
            self._days.trim_stage(root.plan)
        if batch.late and root.exists:
            merge.drop_older(cursor, root.name, self._stamp)
        if root.exists and not batch.rebuild:
            self._written.compared = renames.compared(cursor, root.name, batch.pairs)
        for relation in batch.relations:
            if not relation.exists:
                ddl.create_relation(cursor, relation.name, relation.plan)
                ddl.add_keys(cursor, relation.name, relation.plan.child)
        self._merge()

    def _find_delta(self) -> None:
        root = self._batch.relations[0]
        if root.exists and self._batch.scope.type == "snapshot" and root.parts:
            landed = ((flush, self._batch.read(part, delta.COLUMNS)) for flush, part in root.parts)
            self._delta = delta.find(self._cursor, root.name, landed)

    def _stage(self, number: int) -> None:
        relation, name = self._batch.relations[number], merge.stage_name(number)
        types = merge.stage_types(relation.plan)
        merge.create_stage(self._cursor, name, types)
        target = sql.Identifier(name)
        for flush, part, converted in self._converted(relation):
            frame = stage.with_sequence(converted.frame, flush << merge.SEQUENCE_BITS, "_op" in dict(types))
            refused = stage.copy_careful(self._cursor, target, frame, types, relation.plan)
            if refused:
                self._batch.refuse(
                    [
                        Refused(relation.plan.child, part.file, frame[ROW][row], frame["_id"][row], reason)
                        for row, reason in refused
                    ]
                )
        self._cursor.execute(sql.SQL("analyze {}").format(target))

    def _converted(self, relation: Relation) -> Generator[tuple[int, Part, Converted]]:
        """Yield converted parts; the next one is read while the present one is copied."""

        def prepare(item: tuple[int, Part]) -> tuple[int, Part, Converted]:
            return *item, convert(self._read(relation, *item), relation.plan)

        parts = [item for item in relation.parts if self._delta is None or not self._delta.skips(item[0])]
        for flush, part, converted in read_ahead(map(prepare, parts)):
            self._written.count(relation.plan.child, converted)
            yield flush, part, converted

    def _read(self, relation: Relation, flush: int, part: Part) -> pl.DataFrame:
        """Return the rows of a part that have to be staged, with their positions in the part."""
        child = relation.plan.child
        landed = self._batch.read(part).with_row_index(ROW)
        if self._delta is not None:
            landed = self._delta.pick(flush, landed, child)
        return self._batch.kept(child, landed)

    # -- merging ----------------------------------------------------------------------------------------------

    def _merge(self) -> None:
        cursor, batch, written, stamp = self._cursor, self._batch, self._written, self._stamp
        root, *children = batch.relations
        merge.create_key_table(cursor, merge.TOUCHED)
        merge.create_key_table(cursor, merge.GONE)
        written.deleted += self._delete_by_op()
        written.updated = merge.update_rows(cursor, root.name, root.plan, stamp, self._track)
        if self._delta is None or self._delta.new:
            written.inserted = merge.insert_rows(cursor, root.name, root.plan, stamp, self._track)
        written.deleted += self._delete_missing()
        for number, child in enumerate(children, 1):
            written.child_rows += merge.replace_children(
                cursor, child.name, merge.stage_name(number), child.plan, stamp, hard=batch.hard_deletes
            )
        written.unchanged = self._rows_staged() - written.updated - written.inserted
        self._write_history()

    def _rows_staged(self) -> int:
        if self._delta is not None:
            return self._delta.keys - len(self._batch.held)
        [[staged]] = self._cursor.execute(
            sql.SQL("select count(*) from {} where _op is distinct from 'd'").format(sql.Identifier(merge.STAGE))
        ).fetchall()
        return int(staged)

    def _delete_by_op(self) -> int:
        if not self._batch.says_deletes:
            return 0
        condition = sql.SQL("exists (select from {} s where s._id = t._id and s._op = 'd')").format(
            sql.Identifier(merge.STAGE)
        )
        return self._delete(condition)

    def _delete_missing(self) -> int:
        """Delete what the batch's scope, or its list of ids, says is no longer at the source."""
        batch, deleted = self._batch, 0
        if self._days is not None:
            gone = self._days.gone(batch.relations[0].plan)
            if gone is None:
                return 0
            return self._delete(sql.SQL("{} and {}").format(gone, _NOT_HELD), held=batch.rejected())
        if batch.late:
            return 0
        if batch.scope.type == "snapshot":
            deleted += self._delete_unread()
        elif isinstance(batch.scope, PartitionScope):
            deleted += self._delete_partition(batch.scope)
        if batch.manifest.of_kind("ids"):
            merge.create_key_table(self._cursor, merge.IDS)
            for ids in batch.source_ids():
                stage.copy_keys(self._cursor, sql.Identifier(merge.IDS), ids)
            self._cursor.execute(sql.SQL("analyze {}").format(sql.Identifier(merge.IDS)))
            # Rows read at or after the sweep began may be younger than the list.
            condition = sql.SQL("{} and t._extracted_at < %(extracted)s").format(merge.not_in(merge.IDS))
            deleted += self._delete(condition)
        return deleted

    def _delete_unread(self) -> int:
        if not self._batch.knows_rejected():
            self._written.warnings.append("a rejected document has no readable _id: no rows were deleted this time")
            return 0
        read = merge.STAGE if self._delta is None else delta.KEYS
        return self._delete(sql.SQL("{} and {}").format(merge.not_in(read), _NOT_HELD), held=self._batch.rejected())

    def _delete_partition(self, scope: PartitionScope) -> int:
        plan = self._batch.relations[0].plan
        column = plan.columns.get(scope.field)
        if column is None or not column.stored:
            self._written.warnings.append(f"partition field {scope.field} has no column: no rows were deleted")
            return 0
        if column.pg_type == "text":
            within = sql.SQL("left({0}, 10) between %(first)s and %(last)s")
            first, last = scope.from_, scope.to
        else:
            within = sql.SQL("{0} >= %(first)s::date and {0} < %(last)s::date")
            first = scope.from_
            last = (datetime.fromisoformat(scope.to) + timedelta(days=1)).date().isoformat()
        fields = [sql.SQL("t.{}").format(sql.Identifier(found.name)) for found in plan.of(scope.field)]
        days = sql.SQL(" or ").join(within.format(field) for field in fields)
        condition = sql.SQL("({}) and {} and {}").format(days, merge.not_in(merge.STAGE), _NOT_HELD)
        return self._delete(condition, first=first, last=last, held=self._batch.rejected())

    def _delete(self, condition: sql.Composable, **parameters: Any) -> int:
        return merge.delete_rows(
            self._cursor,
            self._batch.relations[0].name,
            self._stamp,
            condition,
            hard=self._batch.hard_deletes,
            track=self._track,
            **parameters,
        )

    def _write_history(self) -> None:
        root, history = self._batch.relations[0], self._batch.history
        if history is None:
            return
        if ddl.exists(self._cursor, history):
            merge.write_history(self._cursor, root.name, history, root.plan, self._stamp)
            return
        ddl.create_history(self._cursor, history, root.plan)
        merge.open_versions(self._cursor, root.name, history, root.plan, sql.SQL("t._deleted_at is null"))
