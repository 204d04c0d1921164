"""Rows of bronze as they are fetched for comparing them with their source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from tasks.bronze import ddl
from tasks.bronze.plan import Column

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


@dataclass(frozen=True)
class Held:
    """One row as bronze holds it.

    Attributes:
        version: The document's hash as hex, "" without one; of a child row `[_root_id, _parent_id, _position]`.
        live: Whether it is not marked as deleted.
        extracted_at: When its document was read, as Postgres writes it.
        batch_id: The batch that brought it.
        rescued: Text of `_rescued`.
        values: One per column that was asked for.
    """

    version: Any
    live: bool
    extracted_at: str
    batch_id: str
    rescued: str | None
    values: Sequence[Any]


def rows_of(
    cursor: psycopg.Cursor[Any],
    name: str,
    columns: Sequence[Column],
    condition: sql.SQL,
    parameters: Mapping[str, Any],
    *,
    child: bool,
) -> dict[str, Held]:
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
        key: Held(version, live, extracted_at, batch_id, rescued, values)
        for key, version, live, extracted_at, batch_id, rescued, *values in rows
    }
