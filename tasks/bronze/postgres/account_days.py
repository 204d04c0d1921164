"""Replacing whole days of accounts in Postgres, and telling what each of them holds then.

A batch of scope `account_days` names the days that were read whole. All of their rows are in the batch, so what bronze
has of these days and the batch has not is gone at the source.
"""

from __future__ import annotations

import hashlib
from typing import Any

import psycopg
from psycopg import sql

from tasks.bronze.destination import ReplacedDays
from tasks.bronze.plan import RelationPlan
from tasks.bronze.postgres import ddl, merge
from tasks.ops.pulls import DayHeld

_SCOPE = sql.Identifier("warehouse_scope")
_SUMMED = ("bigint", "numeric", "double precision")
# jsonb_build_object takes 50 pairs.
_MOST_SUMS = 50


class AccountDays:
    """The days that one batch replaces, in a temporary table of its transaction.

    Args:
        cursor: In the batch's transaction.
        replaced: The days.
    """

    def __init__(self, cursor: psycopg.Cursor[Any], replaced: ReplacedDays) -> None:
        self._cursor, self._replaced = cursor, replaced
        cursor.execute(
            sql.SQL("create temporary table {} (account text, day date, final boolean) on commit drop").format(_SCOPE)
        )
        cursor.execute(
            sql.SQL("insert into {} select * from unnest(%s::text[], %s::date[], %s::boolean[])").format(_SCOPE),
            [
                [day.account for day in replaced.days],
                [day.day for day in replaced.days],
                [day.final for day in replaced.days],
            ],
        )

    def trim_stage(self, plan: RelationPlan) -> None:
        """Take the rows of days that were left out from staging."""
        within = self._within(plan, "t")
        if self._replaced.left_out and within is not None:
            self._cursor.execute(sql.SQL("delete from {} t where not {}").format(sql.Identifier(merge.STAGE), within))

    def gone(self, plan: RelationPlan) -> sql.Composed | None:
        """Return the condition of rows `t` of bronze that the source has no more; None where there can be none."""
        within = self._within(plan, "t")
        if within is None:
            return None
        return sql.SQL("{} and {}").format(within, merge.not_in(merge.STAGE))

    def held(self, relation: str, plan: RelationPlan) -> list[DayHeld]:
        """Return what each day holds after the batch; nothing where the columns that tell are not kept."""
        names = self._names(plan)
        if names is None:
            # A day that was read whole is known to be empty, be it before the table's first row.
            known = any(path in plan.columns for path in (self._replaced.account, self._replaced.day))
            return [] if known else [DayHeld(day.account, day.day, day.final, 0, {}) for day in self._replaced.days]
        target = ddl.relation(relation)
        columns = sql.SQL(", ").join(sql.Identifier(name) for name in names)
        self._cursor.execute(
            sql.SQL("create index if not exists {} on {} ({})").format(_index(relation), target, columns)
        )
        sums = sql.SQL(", ").join(
            sql.SQL("{}::text, sum(t.{}::numeric)::text").format(sql.Literal(name), sql.Identifier(name))
            for name in _summed(plan, names)
        )
        rows = self._cursor.execute(
            sql.SQL(
                "select s.account, s.day, coalesce(s.final, false), count(t._id),"
                " jsonb_strip_nulls(jsonb_build_object({sums}))"
                " from {scope} s left join {target} t on {same} and t._deleted_at is null"
                " group by s.account, s.day, s.final"
            ).format(sums=sums, scope=_SCOPE, target=target, same=_same(names, "t"))
        ).fetchall()
        return [DayHeld(*row) for row in rows]

    def _within(self, plan: RelationPlan, alias: str) -> sql.Composed | None:
        names = self._names(plan)
        if names is None:
            return None
        return sql.SQL("exists (select from {} s where {})").format(_SCOPE, _same(names, alias))

    def _names(self, plan: RelationPlan) -> list[str] | None:
        """Return the columns of account and day; None where no row was ever loaded, so that there are none."""
        paths = [self._replaced.account, *((self._replaced.day,) if self._replaced.day else ())]
        found = [plan.columns.get(path) for path in paths]
        names = [column.name for column in found if column is not None and column.stored]
        return names if len(names) == len(paths) else None


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
