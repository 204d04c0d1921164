"""Rules that refer to another table, tried on the rows that a batch has written: they warn and never fail a load."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from tasks.bronze import kinds, names
from tasks.bronze.capabilities import POSTGRES
from tasks.bronze.plan import Column, RelationPlan
from tasks.bronze.postgres import ddl, merge
from tasks.errors import first_line
from tasks.landing.rules import child_and_path
from tasks.ops import TableKey, columns, relations
from tasks.ops.relations import HISTORY, ROOT
from tasks.sources.config import KEY, Reference, Rule

_EXAMPLES = 5
# A warning is not worth a load that waits for others, or goes on for long.
_LOCK_WAIT = "2s"
_STATEMENT_LIMIT = "60s"
# As the decoder writes keys: a text that could be taken for another key is in quotes.
_AMBIGUOUS = r'^([0-9a-f]{24}|-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?|true|false|null|[{\["].*)$'
_WHOLE: LiteralString = "case when {0} = trunc({0}) and abs({0}) < 9223372036854775808 then {0}::bigint::text end"
_AS_KEY: dict[str, LiteralString] = {
    "int": "{0}::text",
    "double": _WHOLE,
    "decimal": _WHOLE,
    # Control letters in quotes have spellings of their own.
    "string": r"""case when {0} !~ {ambiguous} then {0} when {0} !~ '[\x01-\x1f]'
        then '"' || replace(replace({0}, '\', '\\'), '"', '\"') || '"' end""",
    "objectid": "{0}",
    "uuid": """'{{"$uuid":"' || {0}::text || '"}}'""",
    "bool": "{0}::text",
}
"""By kind how a value is written as a key; null, or no entry, where that cannot be told of it."""
_EXACT: dict[str, LiteralString] = {
    # Of a large one Postgres writes the shortest digits that mean it, which are those of another whole number.
    "double": (
        "case when {0} = trunc({0}) and abs({0}) < 9223372036854775808 then {0}::bigint::numeric"
        " else {0}::text::numeric end"
    ),
    "uuid": "{0}::text",
    "day": "{0}::timestamp at time zone 'UTC'",
}
"""By kind how a value is read as one of another kind of its family."""
_FAMILIES = (kinds.NUMBERS, ("string", "objectid", "uuid"), ("day", "date", "micros"))


@dataclass(frozen=True)
class Written:
    """The rows that one batch has written into its relations.

    Attributes:
        key: The table.
        batch_id: The batch.
        relations: By child path the relation and its columns.
        staged: Whether the keys of all its rows are in `merge.STAGE`; else the relations hold no other rows.
    """

    key: TableKey
    batch_id: str
    relations: Mapping[str, tuple[str, RelationPlan]]
    staged: bool


@dataclass(frozen=True)
class Broken:
    """What the references say of a batch.

    Attributes:
        warnings: A sentence for each rule that is broken, and for what could not be tried.
        documents: How many documents break one at least.
    """

    warnings: tuple[str, ...] = ()
    documents: int = 0


@dataclass(frozen=True)
class _Target:
    """The relation that has to hold the values, in columns of one path, or in its key where there are none."""

    name: str
    columns: Sequence[Column]


def broken_by(cursor: psycopg.Cursor[Any], rules: Iterable[Rule], written: Written) -> Broken:
    """Return which documents of a batch refer to what bronze does not hold.

    Nothing stays locked, and nothing that goes wrong here fails the caller's transaction.

    Args:
        cursor: In the transaction that has written the rows.
        rules: The table's; those without a reference are passed over.
        written: What the batch has written.

    Raises:
        psycopg.OperationalError: The connection is lost.
    """
    wanted = [(rule, rule.reference) for rule in rules if rule.reference]
    if not wanted:
        return Broken()
    try:
        with cursor.connection.transaction(force_rollback=True):
            cursor.execute(sql.SQL("set local lock_timeout = {}").format(sql.Literal(_LOCK_WAIT)))
            cursor.execute(sql.SQL("set local statement_timeout = {}").format(sql.Literal(_STATEMENT_LIMIT)))
            return _try(cursor, wanted, written)
    except psycopg.DatabaseError as error:
        if cursor.connection.broken:
            raise
        titles = ", ".join(repr(rule.title) for rule, _ in wanted)
        return Broken((f"references were not tried ({titles}): {first_line(error)}",))


def _try(cursor: psycopg.Cursor[Any], wanted: Sequence[tuple[Rule, Reference]], written: Written) -> Broken:
    absent: dict[str, list[str]] = {}
    queries: list[sql.Composable] = []
    for number, (rule, reference) in enumerate(wanted):
        target = _target(cursor, reference, written)
        if isinstance(target, str):
            absent.setdefault(target, []).append(repr(rule.title))
        else:
            queries += _queries(number, rule.field, target, written)
    warnings = [f"{missing}: not tried: {', '.join(titles)}" for missing, titles in absent.items()]
    counted = _count(cursor, queries) if queries else []
    for number, count, ids, _ in counted:
        rule, reference = wanted[number]
        what = "key" if reference.field == KEY else reference.field
        examples = ", ".join(ids) + (", ..." if count > len(ids) else "")
        warnings.append(
            f"{count:,} document(s) break the rule {rule.title!r}: "
            f"no {what} of {reference.table} is what they name: {examples}"
        )
    return Broken(tuple(warnings), counted[0][3] if counted else 0)


def _target(cursor: psycopg.Cursor[Any], reference: Reference, written: Written) -> _Target | str:
    """Return what has to hold the values; a sentence where it is not there."""
    own = written.relations if reference.key == written.key else {}
    names_of = {**relations.of_table(cursor, reference.key), **{child: name for child, (name, _) in own.items()}}
    names_of.pop(HISTORY, None)
    child, path = child_and_path(reference.field, [one for one in names_of if one != ROOT])
    name = names_of.get(child)
    if name is None or not ddl.exists(cursor, name):
        return f"{reference.table} is not in bronze"
    if not child and path == KEY:
        return _Target(name, ())
    known = own[child][1].every if child in own else columns.of_relation(cursor, reference.key, child)
    found = [column for column in known if column.path == path and column.stored]
    return _Target(name, found) if found else f"{reference.table} has no field {reference.field}"


def _queries(number: int, field: str, target: _Target, written: Written) -> Iterator[sql.Composable]:
    """Yield for each column of a field the query for the documents whose value the target lacks."""
    child, path = child_and_path(field, [one for one in written.relations if one != ROOT])
    name, plan = written.relations[child]
    if not child and path == KEY:
        if not target.columns:
            yield _query(number, child, name, path, sql.SQL("s._id"), _lacks_key(target), written)
        return
    for column in plan.of(path) if path in plan.columns else ():
        if not column.stored:
            continue
        value: sql.Composable = sql.SQL("s.{}").format(sql.Identifier(column.name))
        if target.columns:
            yield _query(number, child, name, path, value, _lacks_value(target, column), written)
        elif column.kind in _AS_KEY:
            key = sql.SQL(_AS_KEY[column.kind]).format(value, ambiguous=sql.Literal(_AMBIGUOUS))
            yield _query(number, child, name, path, key, _lacks_key(target), written)


def _query(
    number: int,
    child: str,
    name: str,
    path: str,
    value: sql.Composable,
    lacks: sql.Composable,
    written: Written,
) -> sql.Composable:
    root = sql.Identifier("_root_id" if child else "_id")
    staged = sql.SQL("and exists (select from {} k where k._id = s.{})").format(sql.Identifier(merge.STAGE), root)
    return sql.SQL(
        "select {number} as rule, s.{root} as id from {relation} s, lateral (select {value} as value) v"
        " where s._batch_id = {batch} and s._deleted_at is null {staged}"
        # The column does not tell what was rescued.
        " and v.value is not null and not coalesce(s._rescued ? {path}, false) {lacks}"
    ).format(
        number=sql.Literal(number),
        root=root,
        relation=ddl.relation(name),
        value=value,
        batch=sql.Literal(written.batch_id),
        staged=staged if written.staged else sql.SQL(""),
        path=sql.Literal(names.stored(path)),
        lacks=lacks,
    )


def _lacks_key(target: _Target) -> sql.Composable:
    # A longer key stands there with its digest.
    return sql.SQL(
        "and octet_length(v.value) <= {most}"
        " and not exists (select from {relation} t where t._id = v.value and t._deleted_at is null)"
    ).format(most=sql.Literal(POSTGRES.most_key_bytes), relation=ddl.relation(target.name))


def _lacks_value(target: _Target, column: Column) -> sql.Composable:
    """Return the condition that no column of the target holds a value; no condition where none can."""
    return sql.SQL(" ").join(
        sql.SQL("and not exists (select from {relation} t where {equal} and t._deleted_at is null)").format(
            relation=ddl.relation(target.name), equal=_equal(other, column)
        )
        for other in target.columns
        if other.pg_type == column.pg_type or any({other.kind, column.kind} <= {*family} for family in _FAMILIES)
    )


def _equal(other: Column, column: Column) -> sql.Composable:
    """Return the comparison of a column with a value of another: plain where an index can be used."""
    there = sql.SQL("t.{}").format(sql.Identifier(other.name))
    if other.pg_type == column.pg_type:
        return sql.SQL("{} = v.value").format(there)
    exact = [sql.SQL(_EXACT.get(one.kind, "{0}")) for one in (other, column)]
    return sql.SQL("{} = {}").format(exact[0].format(there), exact[1].format(sql.SQL("v.value")))


def _count(cursor: psycopg.Cursor[Any], queries: Sequence[sql.Composable]) -> list[tuple[int, int, list[str], int]]:
    """Return for each rule that is broken how many documents break it, the first of them, and how many break any."""
    return cursor.execute(
        sql.SQL(
            "with broken as materialized (select distinct rule, id from ({queries}) q)"
            " select rule, count(*), (select array_agg(id) from"
            " (select id from broken b where b.rule = o.rule order by id limit {examples}) first),"
            " (select count(distinct id) from broken) from broken o group by rule order by rule"
        ).format(queries=sql.SQL(" union all ").join(queries), examples=sql.Literal(_EXAMPLES))
    ).fetchall()
