"""A contract written from what bronze holds: rules that all of it keeps, for people to read, tighten and paste."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from tasks.bronze.plan import Column, make_plan
from tasks.bronze.postgres import ddl
from tasks.landing.decoder import DOCUMENT
from tasks.ops import TableKey, columns, relations
from tasks.ops.relations import HISTORY
from tasks.sources.config import Table

_NUMBERS = ("int", "double", "decimal")
# Columns of times take each other's values.
_TIMES = {"date": ("date", "micros"), "micros": ("date", "micros")}
# A text is like an enum when it has so few values, each of them many times.
_MOST_VALUES, _LEAST_REPEATED, _SAMPLE_ROWS = 12, 10, 10_000
_MOST_LETTERS = 40
# Figures of so many paths are asked for at once: a query of Postgres has at most 1,664.
_PATHS = 200
_INDENT = " " * 8


@dataclass(frozen=True)
class _Field:
    """What bronze holds of one path: its columns, and of all rows how many have it, rescue it, or are odd numbers."""

    path: str
    columns: Sequence[Column]
    filled: int
    rescued: int
    odd: int

    @property
    def kinds(self) -> list[str]:
        found = (kind for column in self.columns for kind in _TIMES.get(column.kind, (column.kind,)))
        return list(dict.fromkeys(found))


def written(connection: psycopg.Connection[Any], key: TableKey, table: Table) -> list[str]:
    """Return the lines of `rules` that everything in bronze keeps; no line where nothing is in it.

    Args:
        connection: Of the warehouse.
        key: The table.
        table: Its configuration: what does not land has no rule.
    """
    lines: list[str] = []
    with connection.cursor() as cursor:
        for child, name in ddl.existing(cursor, relations.of_table(cursor, key)).items():
            if child == HISTORY or (child and child not in table.child_paths):
                continue
            [[rows]] = cursor.execute(sql.SQL("select count(*) from {}").format(ddl.relation(name))).fetchall()
            if rows:
                lines += _relation(cursor, key, table, child, name, rows)
    return [f"{_INDENT}rules:", *(f"{_INDENT}  - {line}" for line in lines)] if lines else []


def _relation(
    cursor: psycopg.Cursor[Any], key: TableKey, table: Table, child: str, name: str, rows: int
) -> Iterator[str]:
    plan = make_plan(child, columns.of_relation(cursor, key, child), [], {})
    stored = {
        path: found for path in plan.columns if path != DOCUMENT and (found := [c for c in plan.of(path) if c.stored])
    }
    paths = [path for path in stored if not any(other.startswith(f"{path}.") for other in plan.columns)]
    for start in range(0, len(paths), _PATHS):
        for one in _fields(cursor, name, {path: stored[path] for path in paths[start : start + _PATHS]}):
            field = f"{child}.{one.path}" if child else one.path
            usable = table.lands(field) and field not in table.child_paths
            if usable and "${" not in field and field.isprintable():
                yield from _rules(cursor, name, field, one, rows)


def _fields(cursor: psycopg.Cursor[Any], name: str, stored: dict[str, list[Column]]) -> Iterator[_Field]:
    figures = []
    for path, found in stored.items():
        held = sql.SQL(", ").join(sql.Identifier(column.name) for column in found)
        odd = sql.SQL(" or ").join(
            sql.SQL("{0} < 0 or {0}::text = 'NaN'" if column.kind in _NUMBERS else "{0} is not null").format(
                sql.Identifier(column.name)
            )
            for column in found
        )
        figures.append(
            sql.SQL(
                "count(*) filter (where num_nonnulls({held}) > 0), count(*) filter (where _rescued ? {path}),"
                " count(*) filter (where {odd})"
            ).format(held=held, path=sql.Literal(path.replace("\x00", "\\u0000")), odd=odd)
        )
    query = sql.SQL("select {} from {}").format(sql.SQL(", ").join(figures), ddl.relation(name))
    row = cursor.execute(query).fetchone() or ()
    for index, (path, found) in enumerate(stored.items()):
        yield _Field(path, found, *row[index * 3 : index * 3 + 3])


def _rules(cursor: psycopg.Cursor[Any], name: str, field: str, found: _Field, rows: int) -> Iterator[str]:
    """Yield the rules of one field, nothing but `required` where other values than those of its columns were seen."""
    start = f"{{field: {json.dumps(field, ensure_ascii=False)}, "
    if found.filled == rows and not any(column.vanished for column in found.columns):
        yield f"{start}required: true}}"
    if found.rescued or not found.filled:
        return
    yield f"{start}type: [{', '.join(found.kinds)}]}}"
    if not found.odd:
        yield f"{start}range: {{min: 0}}}}"
    if found.kinds == ["string"] and (values := _values(cursor, name, found)):
        listed = ", ".join(json.dumps(value, ensure_ascii=False) for value in values)
        # A new value is more often a new feature than a mistake.
        yield f"{start}set: [{listed}], on_fail: warn}}"


def _values(cursor: psycopg.Cursor[Any], name: str, found: _Field) -> list[str]:
    """Return all values of a text that is like an enum; of one that is not, nothing."""
    parts = {
        "column": sql.Identifier(found.columns[0].name),
        "relation": ddl.relation(name),
        "sample": sql.Literal(_SAMPLE_ROWS),
        "most": sql.Literal(_MOST_VALUES + 1),
    }
    [[sampled]] = cursor.execute(
        sql.SQL(
            "select count(distinct {column}) from (select {column} from {relation} where {column} is not null"
            " limit {sample}) s"
        ).format(**parts)
    ).fetchall()
    if sampled > _MOST_VALUES:
        return []
    listed = cursor.execute(
        sql.SQL("select distinct {column} from {relation} where {column} is not null order by 1 limit {most}").format(
            **parts
        )
    ).fetchall()
    values = [str(value) for (value,) in listed]
    usual = all(len(value) <= _MOST_LETTERS and value.isprintable() and "${" not in value for value in values)
    return values if usual and len(values) <= min(_MOST_VALUES, found.filled // _LEAST_REPEATED) else []
