"""Values of a changed field as bronze holds them, from before and since a batch. Raw: whoever shows them masks them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import errors, sql

from tasks.bronze import names
from tasks.bronze.plan import make_plan
from tasks.bronze.postgres import ddl
from tasks.ops import TableKey, columns, relations

MOST_LETTERS = 1_000
"""Longer values are not read: a part of one could not be masked."""
_MOST_VALUES = 3
_MOST_ROWS = 200
# A value that is rare in a large table is not worth reading all of it.
_MOST_MS = 5_000


@dataclass(frozen=True, slots=True)
class Location:
    """Where the values of a field are.

    Attributes:
        child: Path of the array, empty for the table itself.
        path: Path within it, as landed.
        relation: Relation of bronze.
        columns: Columns that hold values of it; the others are in `_rescued`.
    """

    child: str
    path: str
    relation: str
    columns: tuple[str, ...]

    @property
    def full_path(self) -> str:
        """Path as sources.yaml names it."""
        return f"{self.child}.{self.path}" if self.child else self.path


def locations(cursor: psycopg.Cursor[Any], key: TableKey) -> dict[str, Location]:
    """Return where the values of a table's fields are, by the name that the ledger of changes has for the field."""
    found: dict[str, Location] = {}
    for child, relation in ddl.existing(cursor, relations.of_table(cursor, key)).items():
        if child == relations.HISTORY:
            continue
        plan = make_plan(child, columns.of_relation(cursor, key, child), [], {})
        for path in plan.columns:
            held = tuple(column.name for column in plan.of(path) if column.stored)
            found.setdefault(names.stored(plan.field_name(path)), Location(child, path, relation, held))
    return found


def values(
    connection: psycopg.Connection[Any], location: Location, batch_id: str, *, since: bool, rescued: bool = False
) -> list[str | None]:
    """Return a few different values as texts; None stands for one that is too long.

    Args:
        connection: In autocommit.
        location: Of the field.
        batch_id: The batch that changed it.
        since: Of rows that this batch or a later one wrote; else of rows that are as earlier ones wrote them.
        rescued: Only what fits no column.

    Returns:
        Nothing where none was found in reasonable time.
    """
    texts = [] if rescued else [sql.SQL("{}::text").format(sql.Identifier(name)) for name in location.columns]
    texts.append(sql.SQL("_rescued ->> {}").format(sql.Literal(names.stored(location.path))))
    query = sql.SQL(
        "select distinct case when length(value) <= {letters} then value end from (select coalesce({texts}) as value"
        " from {relation} where _batch_id {when} {batch} and coalesce({texts}) is not null limit {rows}) s"
        " order by 1 limit {most}"
    ).format(
        letters=sql.Literal(MOST_LETTERS),
        texts=sql.SQL(", ").join(texts),
        relation=ddl.relation(location.relation),
        when=sql.SQL(">=" if since else "<"),
        batch=sql.Literal(batch_id),
        rows=sql.Literal(_MOST_ROWS),
        most=sql.Literal(_MOST_VALUES),
    )
    try:
        with connection.transaction():
            connection.execute(sql.SQL("set local statement_timeout = {}").format(sql.Literal(_MOST_MS)))
            return [value for (value,) in connection.execute(query).fetchall()]
    except errors.QueryCanceled:
        return []
