"""Changes of bronze relations: additive, with short waits for locks, and views above always valid again at commit."""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg
from psycopg import errors, sql

from tasks.bronze.plan import Column, RelationPlan
from tasks.errors import LoadError

SCHEMA = "bronze"
ROW_META_BEFORE = (("_id", "text"),)
CHILD_META_BEFORE = (("_id", "text"), ("_root_id", "text"), ("_parent_id", "text"), ("_position", "bigint"))
META_AFTER = (
    ("_rescued", "jsonb"),
    ("_hash", "uuid"),
    ("_batch_id", "text"),
    ("_extracted_at", "timestamp with time zone"),
    ("_loaded_at", "timestamp with time zone"),
    ("_deleted_at", "timestamp with time zone"),
)
# Half of Postgres's deadlock_timeout: where a view and its table are locked crosswise, no reader is ended for it.
LOCK_WAIT_MS = 500
"""How long a statement waits for its lock, behind which every reader queues, before it is tried again later."""
_LOCK_ATTEMPTS = 14
# Rewriting a relation keeps its readers out (737 MiB on two busy cores: 9 s for doubles, 18 s for numerics); above this
# size values that need the wider type get a column of their own instead.
WIDEN_MOST_BYTES = 512 << 20
ABOVE = "a materialized view, or a view with triggers or rules, depends on it"
_INEXACT: dict[tuple[str, str], LiteralString] = {
    ("int", "double"): "abs({0}::numeric) > 9007199254740992",
    # Of a large double Postgres writes other digits than the shortest that mean it, with which it was landed.
    ("double", "decimal"): "{0}::text = '-0' or (abs({0}) > 9007199254740992 and abs({0}) < 'Infinity')",
}


class Shadow(str):
    """The name of a relation that is filled beside the one of that name, in a schema of its own.

    Attributes:
        schema: Where it is until it takes its place.
    """

    schema: str

    def __new__(cls, name: str, schema: str) -> Shadow:
        """Return the name of the relation beside `name`."""
        shadow = super().__new__(cls, name)
        shadow.schema = schema
        return shadow


def relation(name: str) -> sql.Composed:
    """Return the quoted relation: one of bronze, or a shadow of one."""
    schema = name.schema if isinstance(name, Shadow) else SCHEMA
    return sql.SQL("{}.{}").format(sql.Identifier(schema), sql.Identifier(name))


def oid(cursor: psycopg.Cursor[Any], name: str) -> int:
    """Return the oid of a relation that exists."""
    [[found]] = cursor.execute("select %s::regclass::oid", [relation(name).as_string(cursor)]).fetchall()
    return int(found)


def meta_before(child: str) -> tuple[tuple[str, str], ...]:
    """Return our own leading columns."""
    return CHILD_META_BEFORE if child else ROW_META_BEFORE


def meta_after(child: str) -> tuple[tuple[str, str], ...]:
    """Return our own trailing columns; child rows have no hash of their own."""
    return tuple(pair for pair in META_AFTER if not (child and pair[0] == "_hash"))


def create_relation(
    cursor: psycopg.Cursor[Any],
    name: str,
    plan: RelationPlan,
    extra: Sequence[tuple[str, str]] = (),
    without: Container[str] = (),
) -> None:
    """Create a relation without keys: they are made after the first rows.

    Args:
        cursor: In a transaction.
        name: The relation.
        plan: Its columns.
        extra: Further columns, as (name, type).
        without: Columns of our own that the caller adds later.
    """
    pairs = [
        *meta_before(plan.child),
        *((column.name, column.pg_type) for column in plan.stored),
        *(pair for pair in meta_after(plan.child) if pair[0] not in without),
        *extra,
    ]
    columns = [
        # The primary key asks for it, and would read the whole relation to be sure.
        sql.SQL("{} {} not null" if column == "_id" else "{} {}").format(sql.Identifier(column), sql.SQL(pg_type))
        for column, pg_type in pairs
    ]
    cursor.execute(sql.SQL("create table {} ({})").format(relation(name), sql.SQL(", ").join(columns)))


def add_keys(cursor: psycopg.Cursor[Any], name: str, child: str) -> None:
    """Add the primary key, and for child rows the index by root.

    Raises:
        psycopg.errors.UniqueViolation: An `_id` is there twice.
    """
    cursor.execute(sql.SQL("alter table {} add primary key (_id)").format(relation(name)))
    if child:
        cursor.execute(sql.SQL("create index on {} (_root_id)").format(relation(name)))


def create_history(cursor: psycopg.Cursor[Any], name: str, plan: RelationPlan) -> None:
    """Create the relation that holds every version of a table's rows."""
    create_relation(
        cursor, name, plan, [(column, "timestamp with time zone") for column in ("_valid_from", "_valid_to")]
    )
    cursor.execute(sql.SQL("create index on {} (_id, _valid_from)").format(relation(name)))


def exists(cursor: psycopg.Cursor[Any], name: str) -> bool:
    """Return whether the relation exists."""
    row = cursor.execute("select to_regclass(%s)", [relation(name).as_string(cursor)]).fetchone()
    return row is not None and row[0] is not None


def existing(cursor: psycopg.Cursor[Any], relations: Mapping[str, str]) -> dict[str, str]:
    """Return those of named relations that exist, in their order."""
    return {child: name for child, name in relations.items() if exists(cursor, name)}


def empty(cursor: psycopg.Cursor[Any], name: str) -> bool:
    """Return whether the relation has no rows."""
    row = cursor.execute(sql.SQL("select not exists (select from {})").format(relation(name))).fetchone()
    return row is not None and bool(row[0])


def with_short_locks(
    cursor: psycopg.Cursor[Any], names: Sequence[str], change: Callable[[], object], attempts: int = _LOCK_ATTEMPTS
) -> None:
    """Run DDL under a short lock timeout, again and again; between attempts no lock is held.

    Args:
        cursor: In a transaction.
        names: The relations, for the error.
        change: Runs the DDL.
        attempts: How often to try; 14 take about a minute, 48 about ten.

    Raises:
        LoadError: A relation was locked for too long.
    """
    before = cursor.execute("show lock_timeout").fetchone()
    for attempt in range(attempts):
        try:
            with cursor.connection.transaction():
                cursor.execute(sql.SQL("set local lock_timeout = {}").format(LOCK_WAIT_MS))
                change()
                cursor.execute("select set_config('lock_timeout', %s, true)", [before[0] if before else "0"])
            return
        except errors.LockNotAvailable:
            # Readers that queued behind us get through before the next attempt.
            time.sleep(0.5 * (attempt + 1))
    raise LoadError(
        "the relations have to be locked for a moment to be changed, and stayed locked by others",
        ", ".join(f"{SCHEMA}.{name}" for name in names),
        "end the long transactions that pg_locks shows on them, then run again",
    )


@dataclass(frozen=True)
class View:
    """A view above a relation, with all that recreates it."""

    oid: int
    name: str
    definition: str
    options: str
    owner: str
    grants: tuple[str, ...]
    comments: tuple[str, ...]


def change_columns(
    cursor: psycopg.Cursor[Any],
    names: Sequence[str],
    added: Sequence[Column],
    widened: tuple[Column, Column] | None = None,
) -> str | None:
    """Add columns to relations that have the same, and change one's type in place; all of them at one go.

    Views above a column whose type changes are dropped and made again in the same transaction.

    Args:
        cursor: In a transaction.
        names: The relations, in the order in which they are always locked.
        added: New columns; those that are there already are left.
        widened: A column as it is and as it is to be.

    Returns:
        None when done, else why the type cannot be changed (the caller adds a column instead); then nothing is done.

    Raises:
        LoadError: A relation was locked for too long.
    """
    actions = [
        sql.SQL("add column if not exists {} {}").format(sql.Identifier(column.name), sql.SQL(column.pg_type))
        for column in added
    ]
    views = views_above(cursor, names) if widened else []
    if views is None:
        return ABOVE
    if widened:
        actions.append(_retyped(*widened))
    if not actions:
        return None

    def change() -> None:
        lock(cursor, names, views)
        for name in names:
            cursor.execute(sql.SQL("alter table {} {}").format(relation(name), sql.SQL(", ").join(actions)))
        for view in views:
            create_view(cursor, view)

    try:
        with cursor.connection.transaction():
            with_short_locks(cursor, names, change)
    except (errors.ProgrammingError, errors.DataError, errors.FeatureNotSupported, errors.InternalError) as error:
        if widened is None:
            raise
        return f"Postgres refused: {str(error).splitlines()[0]}"
    return None


def _retyped(old: Column, new: Column) -> sql.Composed:
    column = sql.Identifier(old.name)
    using = sql.SQL("{}::text::numeric" if old.kind == "double" else "{}").format(column)
    return sql.SQL("alter column {} type {} using {}").format(column, sql.SQL(new.pg_type), using)


def lock(cursor: psycopg.Cursor[Any], names: Sequence[str], views: Sequence[View] = ()) -> None:
    """Lock relations against everybody and drop the views above, in one statement.

    A reader that came between would hold one of them and wait for another. Views come first, from above downwards, as
    who reads one holds it while waiting for its table. All the waiting is as short as for one lock: who waits for the
    first meanwhile must not be ended for it.

    Args:
        cursor: Within `with_short_locks`, where no limit is set for statements.
        names: The relations, in the order in which they are always locked.
        views: All views above, those first that others read.

    Raises:
        psycopg.errors.LockNotAvailable: Others kept a lock.
    """
    statement = sql.SQL("lock table {} in access exclusive mode").format(sql.SQL(", ").join(map(relation, names)))
    if views:
        listed = sql.SQL(", ").join(sql.SQL(view.name) for view in reversed(views))
        statement = sql.SQL("drop view {}; {}").format(listed, statement)
    body = sql.Literal(f"begin {statement.as_string(cursor)}; end")
    cursor.execute(sql.SQL("set local statement_timeout = {}").format(LOCK_WAIT_MS))
    try:
        cursor.execute(sql.SQL("do {}").format(body), prepare=False)
    except errors.QueryCanceled as error:
        raise errors.LockNotAvailable(str(error)) from error
    cursor.execute("set local statement_timeout = 0")


def why_not_rewrite(cursor: psycopg.Cursor[Any], names: Sequence[str]) -> str | None:
    """Return why no column's type should be changed in place, or None when nothing is known against it."""
    quoted = [relation(name).as_string(cursor) for name in names]
    size = cursor.execute("select sum(pg_total_relation_size(r)) from unnest(%s::regclass[]) r", [quoted]).fetchone()
    if size is not None and size[0] > WIDEN_MOST_BYTES:
        return "the relation is too large to be rewritten while others read it (`warehouse rebuild` decides types anew)"
    if views_above(cursor, names) is None:
        return ABOVE
    return None


def inexact(cursor: psycopg.Cursor[Any], names: Sequence[str], old: Column, new: Column) -> bool:
    """Return whether a value would change with the type: 2^53 + 1 as a double, -0.0 or 1e17 as a numeric."""
    check = _INEXACT.get((old.kind, new.kind))
    if check is None:
        return False
    condition = sql.SQL(check).format(sql.Identifier(old.name))
    found = [sql.SQL("exists (select from {} where {})").format(relation(name), condition) for name in names]
    row = cursor.execute(sql.SQL("select {}").format(sql.SQL(" or ").join(found))).fetchone()
    return bool(row and row[0])


def naming(cursor: psycopg.Cursor[Any], names: Sequence[str], columns: Sequence[str]) -> list[str]:
    """Return the views, materialized ones too, that name one of some columns of relations, which may be missing."""
    rows = cursor.execute(
        """
        select distinct format('%%I.%%I', n.nspname, c.relname) from pg_depend d
        join pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
        join pg_rewrite r on r.oid = d.objid
        join pg_class c on c.oid = r.ev_class join pg_namespace n on n.oid = c.relnamespace
        where d.classid = 'pg_rewrite'::regclass and d.refclassid = 'pg_class'::regclass
          and d.refobjid = any(select to_regclass(name) from unnest(%s::text[]) name) and a.attname = any(%s) order by 1
        """,
        [[relation(name).as_string(cursor) for name in names], list(columns)],
    ).fetchall()
    return [row[0] for row in rows]


def views_above(cursor: psycopg.Cursor[Any], names: Sequence[str]) -> list[View] | None:
    """Return the views above relations, those first that others read; None when one cannot be made again exactly."""
    found: dict[int, View] = {}
    for name in names:
        views = _views_above(cursor, name)
        if views is None:
            return None
        for view in views:
            # A view over two relations may be deeper above the later one: it has to stand behind what it reads.
            found.pop(view.oid, None)
            found[view.oid] = view
    return list(found.values())


def _views_above(cursor: psycopg.Cursor[Any], name: str) -> list[View] | None:
    return views_over(cursor, [oid(cursor, name)])


def views_over(cursor: psycopg.Cursor[Any], oids: Sequence[int]) -> list[View] | None:
    """Return the other views above relations of any schema; order and None as with `views_above`."""
    rows = cursor.execute(
        """
        with recursive above (oid, depth) as (
            select r.ev_class, 1 from pg_depend d join pg_rewrite r on r.oid = d.objid
            where d.classid = 'pg_rewrite'::regclass and d.refclassid = 'pg_class'::regclass
              and d.refobjid = any(%(oids)s::oid[]) and r.ev_class <> d.refobjid
            union
            select r.ev_class, a.depth + 1 from above a
            join pg_depend d on d.refobjid = a.oid and d.refclassid = 'pg_class'::regclass
                and d.classid = 'pg_rewrite'::regclass
            join pg_rewrite r on r.oid = d.objid
            where r.ev_class <> a.oid and a.depth < 100
        )
        select c.oid, format('%%I.%%I', n.nspname, c.relname), pg_get_viewdef(c.oid),
               coalesce(' with (' || array_to_string(c.reloptions, ', ') || ')', ''),
               quote_ident(pg_get_userbyid(c.relowner)), c.relkind::text,
               exists (select from pg_trigger t where t.tgrelid = c.oid)
                   or (select count(*) from pg_rewrite r where r.ev_class = c.oid) > 1
        from (select oid, max(depth) depth from above group by oid) a
        join pg_class c on c.oid = a.oid join pg_namespace n on n.oid = c.relnamespace
        where c.oid <> all(%(oids)s::oid[])
        order by a.depth, c.oid
        """,
        {"oids": list(oids)},
    ).fetchall()
    if any(row[5] != "v" or row[6] for row in rows):
        return None
    return [
        View(
            number,
            view,
            definition,
            options,
            owner,
            grants_on(cursor, number, view),
            comments_on(cursor, number, "view", view),
        )
        for number, view, definition, options, owner, *_ in rows
    ]


def grants_on(cursor: psycopg.Cursor[Any], oid: int, name: str) -> tuple[str, ...]:
    """Return the statements that grant what others than the owner may do with a relation of any schema, by its name."""
    rows = cursor.execute(
        """
        select format('grant %%s on %%s to %%s%%s', a.privilege_type, %(name)s::text,
                      case a.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(a.grantee)) end,
                      case when a.is_grantable then ' with grant option' else '' end)
        from pg_class c, aclexplode(c.relacl) a where c.oid = %(oid)s and a.grantee <> c.relowner
        union all
        select format('grant %%s (%%I) on %%s to %%s%%s', a.privilege_type, t.attname, %(name)s::text,
                      case a.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(a.grantee)) end,
                      case when a.is_grantable then ' with grant option' else '' end)
        from pg_attribute t, aclexplode(t.attacl) a where t.attrelid = %(oid)s
        """,
        {"oid": oid, "name": name},
    ).fetchall()
    return tuple(row[0] for row in rows)


def comments_on(cursor: psycopg.Cursor[Any], oid: int, kind: LiteralString, name: str) -> tuple[str, ...]:
    """Return the statements that comment on a relation of any schema and on its columns, by its name."""
    rows = cursor.execute(
        """
        select case when d.objsubid = 0
               then format('comment on %%s %%s is %%L', %(kind)s::text, %(name)s::text, d.description)
               else format('comment on column %%s.%%I is %%L', %(name)s::text, t.attname, d.description) end
        from pg_description d
        left join pg_attribute t on t.attrelid = d.objoid and t.attnum = d.objsubid and d.objsubid > 0
        where d.classoid = 'pg_class'::regclass and d.objoid = %(oid)s
        """,
        {"oid": oid, "kind": kind, "name": name},
    ).fetchall()
    return tuple(row[0] for row in rows)


def describe_again(cursor: psycopg.Cursor[Any], statements: Sequence[str]) -> None:
    """Run what `grants_on` and `comments_on` returned, but for columns that are gone."""
    for statement in statements:
        try:
            with cursor.connection.transaction():
                cursor.execute(sql.SQL(statement))
        except errors.UndefinedColumn:
            continue


def create_view(cursor: psycopg.Cursor[Any], view: View) -> None:
    """Make a view again with its options, owner, grants and comments."""
    # The texts come from Postgres's own catalogue functions, which quote.
    statements = [
        f"create view {view.name}{view.options} as {view.definition}",
        f"alter view {view.name} owner to {view.owner}",
        *view.grants,
        *view.comments,
    ]
    for statement in statements:
        cursor.execute(sql.SQL(statement))
