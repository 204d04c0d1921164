"""Comparing columns of staged rows with those of the rows that they meet: is one the new name of another?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import sql

from tasks.bronze.destination import Pair
from tasks.bronze.plan import Column
from tasks.bronze.postgres import ddl, merge

_SAMPLE_ROWS = 20_000


def compared(cursor: psycopg.Cursor[Any], relation: str, pairs: Sequence[Pair]) -> list[tuple[int, int, int]]:
    """Return for each pair what `Written.compared` tells.

    Args:
        cursor: Inside the load's transaction, after staging and before the merge.
        relation: The table's relation, with its rows as they were before the batch.
        pairs: New columns, each with an old one.
    """
    if not pairs:
        return []
    row = cursor.execute(
        sql.SQL("select {counts} from (select * from {stage} limit {limit}) s join {target} t on t._id = s._id").format(
            counts=sql.SQL(", ").join(_counted(new, old) for new, old in pairs),
            stage=sql.Identifier(merge.STAGE),
            limit=_SAMPLE_ROWS,
            target=ddl.relation(relation),
        )
    ).fetchone()
    return [(both, same, distinct) for both, same, distinct in row or ()]


def _counted(new: Column, old: Column) -> sql.Composed:
    names: dict[str, sql.Composable] = {"new": sql.Identifier(new.name), "old": sql.Identifier(old.name)}
    same = "s.{new} = t.{old}" if new.pg_type == old.pg_type else "s.{new}::text::numeric = t.{old}::text::numeric"
    names["same"] = sql.SQL(same).format(**names)
    moved = sql.SQL("s.{new} is not null and t.{old} is not null and s.{old} is null").format(**names)
    return sql.SQL(
        "array[count(*) filter (where {moved}), count(*) filter (where {moved} and {same}),"
        " count(distinct case when {moved} then md5(s.{new}::text) end)]"
    ).format(moved=moved, **names)
