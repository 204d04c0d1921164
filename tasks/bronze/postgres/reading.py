"""Reading rows of Postgres for comparing them with their source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from tasks.bronze.destination import StoredRow
from tasks.bronze.plan import Column
from tasks.bronze.postgres import ddl

# Of so many keys the bounds of ranges are taken.
_SAMPLE_ROWS = 20_000
# Nothing is loaded as an infinite time, but a person may have set one: it has to differ, not to fail.
_FINITE = "case {{0}} when 'infinity' then 9223372036854775807 when '-infinity' then -9223372036854775808 else {} end"
_FETCH = {
    "timestamp with time zone": _FINITE.format("(extract(epoch from {0}) * 1000000)::bigint"),
    "date": _FINITE.format("({0} - date '1970-01-01')::bigint"),
    "numeric": "{}::text",
    "jsonb": "{}::text",
    "uuid": "{}::text",
}


def _select_list(columns: Sequence[Column]) -> list[sql.Composed]:
    """Return the expressions that fetch columns without loss: times as numbers, the rest as Postgres writes it."""
    return [sql.SQL(_FETCH.get(column.pg_type, "{}")).format(sql.Identifier(column.name)) for column in columns]


def chosen(
    ids: Sequence[str] | None, roots: Sequence[str] | None, between: tuple[str | None, str | None]
) -> sql.Composed:
    """Return the condition on the rows that are asked for; its parameters are `ids`, `roots`, `low` and `high`."""
    asked = {
        "_id = any(%(ids)s)": ids,
        "_root_id = any(%(roots)s)": roots,
        '_id collate "C" >= %(low)s': between[0],
        '_id collate "C" < %(high)s': between[1],
    }
    terms: list[LiteralString] = ["true", *(term for term, value in asked.items() if value is not None)]
    return sql.SQL(" and ").join(map(sql.SQL, terms))


def bounds(cursor: psycopg.Cursor[Any], name: str, least_rows: int, most: int) -> list[str]:
    """Return the keys that split a relation into ranges of about the same size, by byte order."""
    [[count]] = cursor.execute(sql.SQL("select count(*) from {}").format(ddl.relation(name))).fetchall()
    ranges = min(most, count // least_rows)
    if ranges < 2:
        return []
    share = [number / ranges for number in range(1, ranges)]
    [[found]] = cursor.execute(
        sql.SQL(
            'select percentile_disc(%s::float8[]) within group (order by _id collate "C") from {} '
            "tablesample bernoulli (%s) repeatable (1)"
        ).format(ddl.relation(name)),
        [share, min(100.0, 100.0 * _SAMPLE_ROWS / count)],
    ).fetchall()
    return sorted(set(found or []) - {None})


def sums(cursor: psycopg.Cursor[Any], name: str, bounds: Sequence[str], *, child: bool) -> dict[int, tuple[int, int]]:
    """Return by number of the range how many live rows are in it, and the sum of their digests."""
    version = sql.SQL("''" if child else "coalesce(replace(_hash::text, '-', ''), '')")
    rows = cursor.execute(
        sql.SQL(
            """
            select width_bucket(_id collate "C", %s::text[] collate "C"), count(*),
                   sum(('x' || left(encode(sha256(convert_to(_id || {}, 'UTF8')), 'hex'), 16))::bit(64)::bigint)
            from {} where _deleted_at is null group by 1
            """
        ).format(version, ddl.relation(name)),
        [list(bounds)],
    )
    return {number: (count, int(total)) for number, count, total in rows.fetchall()}


def rows_of(
    cursor: psycopg.Cursor[Any],
    name: str,
    columns: Sequence[Column],
    condition: sql.Composable,
    parameters: Mapping[str, Any],
    *,
    child: bool,
) -> dict[str, StoredRow]:
    """Return by `_id` the rows of a relation that meet a condition.

    Args:
        cursor: Runs the query.
        name: The relation.
        columns: Whose values are wanted.
        condition: On the relation's columns.
        parameters: Of the condition.
        child: Whether it is a child table.
    """
    hangs_or_hash = (
        "jsonb_build_array(_root_id, _parent_id, _position)" if child else "coalesce(replace(_hash::text, '-', ''), '')"
    )
    meta = ("_id", hangs_or_hash, "_deleted_at is null", "_extracted_at::text", "_batch_id", "_rescued::text")
    listed = sql.SQL(", ").join([*map(sql.SQL, meta), *_select_list(columns)])
    query = sql.SQL("select {} from {} where {}").format(listed, ddl.relation(name), condition)
    rows = cursor.execute(query, parameters).fetchall()
    return {
        key: StoredRow(version, live, extracted_at, batch_id, rescued, values)
        for key, version, live, extracted_at, batch_id, rescued, *values in rows
    }
