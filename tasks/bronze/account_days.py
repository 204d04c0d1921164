"""Replacing whole days of accounts, and the record of what each pull of a day held.

A batch of scope `account_days` names the days that were read whole. All of their rows are in the batch, so what bronze
has of these days and the batch has not is gone at the source. `ops.pulls` keeps rows and sums of every pull, from which
`ops.account_days` tells whether a day is final, and `ops.restatements` what changed from pull to pull.
"""

from __future__ import annotations

import hashlib
from typing import Any

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from tasks.bronze import ddl, merge
from tasks.bronze.plan import RelationPlan
from tasks.landing import AccountDaysScope
from tasks.ops import TableKey, pulls

_SCOPE = sql.Identifier("warehouse_scope")
_SUMMED = ("bigint", "numeric", "double precision")
# jsonb_build_object takes 50 pairs.
_MOST_SUMS = 50


class AccountDays:
    """The days that one batch replaces, in a temporary table of its transaction.

    Args:
        cursor: In the batch's transaction.
        key: The table.
        scope: What the batch replaces.
        stamp: The batch's stamp.
        late: Whether later batches may have been loaded before: the days that they hold are left to them.
    """

    def __init__(
        self,
        cursor: psycopg.Cursor[Any],
        key: TableKey,
        scope: AccountDaysScope,
        stamp: merge.Stamp,
        *,
        late: bool,
    ) -> None:
        self._cursor, self._key, self._scope, self._stamp = cursor, key, scope, stamp
        cursor.execute(
            sql.SQL("create temporary table {} (account text, day date, final boolean) on commit drop").format(_SCOPE)
        )
        cursor.execute(
            sql.SQL(
                "insert into {} select p.account, d::date, d <= p.final_to"
                " from jsonb_to_recordset(%s) p (account text, first date, last date, final_to date)"
                " left join lateral generate_series(p.first, p.last, interval '1 day') d on true"
            ).format(_SCOPE),
            [Jsonb([_described(part.model_dump()) for part in scope.parts])],
        )
        self.left_out = pulls.leave_out_later(cursor, key, _SCOPE, stamp.extracted_at) if late else 0

    def trim_stage(self, plan: RelationPlan) -> None:
        """Take the rows of days that were left out from staging."""
        within = self._within(plan, "t")
        if self.left_out and within is not None:
            self._cursor.execute(sql.SQL("delete from {} t where not {}").format(sql.Identifier(merge.STAGE), within))

    def gone(self, plan: RelationPlan) -> sql.Composed | None:
        """Return the condition of rows `t` of bronze that the source has no more; None where there can be none."""
        within = self._within(plan, "t")
        if within is None:
            return None
        return sql.SQL("{} and {}").format(within, merge.not_in(merge.STAGE))

    def record(self, relation: str, plan: RelationPlan) -> None:
        """Write what each day holds now into `ops.pulls`."""
        names = self._names(plan)
        if names is None:
            return
        target = ddl.relation(relation)
        columns = sql.SQL(", ").join(sql.Identifier(name) for name in names)
        self._cursor.execute(
            sql.SQL("create index if not exists {} on {} ({})").format(_index(relation), target, columns)
        )
        sums = sql.SQL(", ").join(
            sql.SQL("{}::text, sum(t.{}::numeric)::text").format(sql.Literal(name), sql.Identifier(name))
            for name in _summed(plan, names)
        )
        held = sql.SQL(
            "select s.account, s.day, count(t._id), coalesce(s.final, false),"
            " jsonb_strip_nulls(jsonb_build_object({sums}))"
            " from {scope} s left join {target} t on {same} and t._deleted_at is null"
            " group by s.account, s.day, s.final"
        ).format(sums=sums, scope=_SCOPE, target=target, same=_same(names, "t"))
        pulls.write(self._cursor, self._key, self._stamp.batch_id, self._stamp.extracted_at, held)

    def _within(self, plan: RelationPlan, alias: str) -> sql.Composed | None:
        names = self._names(plan)
        if names is None:
            return None
        return sql.SQL("exists (select from {} s where {})").format(_SCOPE, _same(names, alias))

    def _names(self, plan: RelationPlan) -> list[str] | None:
        """Return the columns of account and day; None where no row was ever loaded, so that there are none."""
        paths = [self._scope.account, *((self._scope.day,) if self._scope.day else ())]
        found = [plan.columns.get(path) for path in paths]
        names = [column.name for column in found if column is not None and column.stored]
        return names if len(names) == len(paths) else None


def _described(part: dict[str, Any]) -> dict[str, Any]:
    return {"account": part["account"], "first": part["from_"], "last": part["to"], "final_to": part["final_to"]}


def _same(names: list[str], alias: str) -> sql.Composed:
    pairs = zip(("account", "day"), names, strict=False)
    return sql.SQL(" and ").join(
        sql.SQL("s.{} = {}.{}").format(sql.Identifier(ours), sql.Identifier(alias), sql.Identifier(theirs))
        for ours, theirs in pairs
    )


def _summed(plan: RelationPlan, names: list[str]) -> list[str]:
    """Return the columns whose sums tell whether a day was restated: numbers that are no ids."""
    found = [column.name for column in plan.stored if column.pg_type in _SUMMED and column.name not in names]
    return [name for name in found if name != "id" and not name.endswith("_id")][:_MOST_SUMS]


def _index(relation: str) -> sql.Identifier:
    return sql.Identifier(f"account_days_{hashlib.blake2b(relation.encode(), digest_size=8).hexdigest()}")
