"""Filling relations beside those that readers see, and letting them take their places under a short lock.

Shadows are made in a schema of their own within the transaction that fills them: nobody else ever sees it, and a killed
process leaves nothing. In a schema of their own, they and their indexes have the names that they will be known by.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg
from psycopg import errors, sql

from tasks.bronze.postgres import ddl

_ASIDE = "__next_"
# About ten minutes: what was filled for long is not given up for a long reader.
_ATTEMPTS = 48


class CannotSwap(Exception):
    """Something of people belongs to a relation and cannot be made again over another one; the text says what."""


def make_shadows(cursor: psycopg.Cursor[Any], names: Mapping[str, str]) -> dict[str, ddl.Shadow]:
    """Make the schema for a table's shadows, and return by child the names of relations in it, none of which exists.

    Args:
        cursor: In the transaction that fills them and ends with `swap`.
        names: By child the names of all relations of the table.
    """
    # One of its own for each session: another one's name would be locked until that transaction ends.
    schema = f"{ddl.SCHEMA}{_ASIDE}{cursor.connection.info.backend_pid}"
    cursor.execute(sql.SQL("create schema {}").format(sql.Identifier(schema)))
    inherit_default_privileges(cursor, ddl.SCHEMA, schema)
    return {child: ddl.Shadow(name, schema) for child, name in names.items()}


def drop_shadows(cursor: psycopg.Cursor[Any], shadows: Mapping[str, ddl.Shadow]) -> None:
    """Drop a table's shadows, which do not take the place of anything."""
    schema = next(iter(shadows.values())).schema
    cursor.execute(sql.SQL("drop schema {} cascade").format(sql.Identifier(schema)))


def check(cursor: psycopg.Cursor[Any], names: Sequence[str]) -> None:
    """Find out before anything is filled whether relations may be swapped.

    Raises:
        CannotSwap: They may not, and why.
    """
    if ddl.views_above(cursor, names) is None:
        raise CannotSwap(ddl.ABOVE)
    rows = cursor.execute(_TIES, [[ddl.oid(cursor, name) for name in names]]).fetchall()
    if rows:
        raise CannotSwap(", ".join(row[0] for row in rows))


_TIES: LiteralString = """
    with mine as (select c.oid, c.relname, c.relrowsecurity from pg_class c where c.oid = any(%s))
    select format('trigger %%I on %%I', t.tgname, m.relname) from pg_trigger t join mine m on m.oid = t.tgrelid
    where not t.tgisinternal
    union all select format('rule %%I on %%I', r.rulename, m.relname) from pg_rewrite r
    join mine m on m.oid = r.ev_class
    union all select format('row level security of %%I', relname) from mine where relrowsecurity
    union all select format('policy %%I on %%I', p.polname, m.relname) from pg_policy p
    join mine m on m.oid = p.polrelid
    union all select format('foreign key %%I on %%s', c.conname, c.conrelid::regclass) from pg_constraint c
    where c.contype = 'f' and exists (select from mine m where m.oid in (c.conrelid, c.confrelid))
    union all select format('publication %%I of %%I', p.pubname, m.relname) from pg_publication_rel r
    join pg_publication p on p.oid = r.prpubid join mine m on m.oid = r.prrelid
    union all select format('inheritance of %%I', m.relname) from pg_inherits i
    join mine m on m.oid in (i.inhrelid, i.inhparent)
    order by 1
"""


def swap(cursor: psycopg.Cursor[Any], live: Mapping[str, str], shadows: Mapping[str, ddl.Shadow]) -> list[str]:
    """Let shadows take the places of the relations that readers see; the caller commits at once.

    Indexes and constraints that people added are made before, which takes as long as it takes. Rights, comments and
    storage options pass over, and views above are made again, while readers wait: for half a second at a time at most
    before the locks are there, and for some milliseconds after.

    Args:
        cursor: In the transaction that filled the shadows.
        live: By child the relations that exist; each has a shadow.
        shadows: By child the names of the shadows; those that were not made are left out.

    Returns:
        A sentence for each index that could not be made again.

    Raises:
        CannotSwap: A view or something else above a relation cannot be made again; nothing changed.
        LoadError: The relations stayed locked by others.
    """
    filled = {child: shadow for child, shadow in shadows.items() if ddl.exists(cursor, shadow)}
    notes = [note for child, name in live.items() for note in _make_indexes(cursor, name, filled[child])]
    names = list(live.values())
    schema = next(iter(filled.values())).schema

    def change() -> None:
        views = ddl.views_above(cursor, names)
        if views is None:
            raise CannotSwap(ddl.ABOVE)
        if names:
            ddl.lock(cursor, names, views)
        described = [statement for child in live for statement in _describe(cursor, live[child], filled[child])]
        if names:
            cursor.execute(sql.SQL("drop table {}").format(sql.SQL(", ").join(map(ddl.relation, names))))
        _give_free_names(cursor, schema)
        for name in filled.values():
            cursor.execute(
                sql.SQL("alter table {} set schema {}").format(ddl.relation(name), sql.Identifier(ddl.SCHEMA))
            )
        ddl.describe_again(cursor, described)
        for view in views:
            _make_view(cursor, view)
        cursor.execute(sql.SQL("drop schema {}").format(sql.Identifier(schema)))

    try:
        ddl.with_short_locks(cursor, names, change, _ATTEMPTS)
    except errors.DependentObjectsStillExist as error:
        raise CannotSwap(error.diag.message_detail) from error
    return notes


def _give_free_names(cursor: psycopg.Cursor[Any], schema: str) -> None:
    """Rename those indexes of shadows whose name an index of another table has: names are cut to 63 bytes."""
    rows = cursor.execute(
        """
        select i.relname, left(i.relname, 12) || '_' || i.oid from pg_class i
        where i.relnamespace = %s::regnamespace and i.relkind = 'i'
            and exists (select from pg_class c where c.relnamespace = %s::regnamespace and c.relname = i.relname)
        """,
        [sql.Identifier(schema).as_string(cursor), ddl.SCHEMA],
    ).fetchall()
    for old, new in rows:
        cursor.execute(sql.SQL("alter index {} rename to {}").format(sql.Identifier(schema, old), sql.Identifier(new)))


def _make_view(cursor: psycopg.Cursor[Any], view: ddl.View) -> None:
    try:
        ddl.create_view(cursor, view)
    except errors.ProgrammingError as error:
        raise CannotSwap(f"{view.name} cannot be made again: {error.diag.message_primary}") from error


def _make_indexes(cursor: psycopg.Cursor[Any], live: str, shadow: str) -> list[str]:
    """Make the indexes and constraints that people added on a shadow; return a sentence for each that does not fit."""
    notes = []
    ours = {index.definition for index in indexes(cursor, ddl.relation(shadow))}
    for index in indexes(cursor, ddl.relation(live)):
        if index.definition in ours:
            continue
        try:
            with cursor.connection.transaction():
                cursor.execute(index.on(ddl.relation(shadow)))
        except psycopg.Error as error:
            notes.append(f"{index.name} on {live} could not be made again: {error.diag.message_primary}")
    return notes


@dataclass(frozen=True)
class Index:
    """An index or constraint of a relation.

    Attributes:
        name: Its name, as SQL.
        definition: What it is, whatever its name and relation.
    """

    name: str
    definition: str
    _before: str
    _after: str

    def on(self, relation: sql.Composable) -> sql.Composed:
        """Return the statement that makes it on a relation."""
        return sql.SQL(" ").join([sql.SQL(self._before), relation, sql.SQL(self._after)])


def indexes(cursor: psycopg.Cursor[Any], relation: sql.Composable) -> list[Index]:
    """Return the indexes and the constraints but foreign keys and `not null` of a relation of any schema."""
    rows = cursor.execute(
        """
        select quote_ident(conname), pg_get_constraintdef(oid), 'alter table',
            format('add constraint %%I %%s', conname, pg_get_constraintdef(oid))
        from pg_constraint where conrelid = %(relation)s::regclass and contype in ('p', 'u', 'x', 'c')
        union all
        select quote_ident(c.relname), made.kind || made.body, format('create %%s %%I on', made.kind, c.relname),
            made.body
        from pg_index i join pg_class c on c.oid = i.indexrelid
        join pg_class t on t.oid = i.indrelid join pg_namespace n on n.oid = t.relnamespace,
        lateral (
            select case when i.indisunique then 'unique index' else 'index' end as kind,
                substr(pg_get_indexdef(i.indexrelid), length(format('CREATE %%sINDEX %%I ON %%I.%%I ',
                    case when i.indisunique then 'UNIQUE ' else '' end, c.relname, n.nspname, t.relname)) + 1) as body
        ) made
        where i.indrelid = %(relation)s::regclass and i.indisvalid
            and not exists (select from pg_constraint k where k.conindid = i.indexrelid and k.conrelid = i.indrelid)
        """,
        {"relation": relation.as_string(cursor)},
    ).fetchall()
    return [Index(*row) for row in rows]


def inherit_default_privileges(cursor: psycopg.Cursor[Any], schema: str, aside: str) -> None:
    """Give a schema aside the default privileges of another: a new relation has them before readers see it."""
    rows = cursor.execute(
        """
        select format('alter default privileges in schema %%I grant %%s on tables to %%s%%s', %(aside)s::text,
                      a.privilege_type,
                      case a.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(a.grantee)) end,
                      case when a.is_grantable then ' with grant option' else '' end)
        from pg_default_acl d join pg_namespace n on n.oid = d.defaclnamespace, aclexplode(d.defaclacl) a
        where n.nspname = %(schema)s and d.defaclobjtype = 'r' and d.defaclrole = current_user::regrole
            and a.grantee <> d.defaclrole
        """,
        {"schema": schema, "aside": aside},
    ).fetchall()
    for (statement,) in rows:
        cursor.execute(statement)


def _describe(cursor: psycopg.Cursor[Any], live: str, shadow: str) -> list[str]:
    """Return the statements that give what takes a relation's place its owner, rights, comments and storage options."""
    name, oid = ddl.relation(live).as_string(cursor), ddl.oid(cursor, live)
    rows = cursor.execute(
        """
        select format('alter table %%s owner to %%I', %(name)s::text, pg_get_userbyid(c.relowner))
        from pg_class c where c.oid = %(live)s and pg_get_userbyid(c.relowner) <> current_user
        union all
        -- Of the default privileges of the schema, which somebody may have taken back.
        select distinct format('revoke all on %%s from %%s', %(name)s::text,
                               case a.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(a.grantee)) end)
        from pg_class c, aclexplode(c.relacl) a where c.oid = %(shadow)s and a.grantee <> c.relowner
        union all
        select format('alter table %%s set (%%s)', %(name)s::text, array_to_string(c.reloptions, ', '))
        from pg_class c where c.oid = %(live)s and c.reloptions is not null
        """,
        {"name": name, "live": oid, "shadow": ddl.oid(cursor, shadow)},
    ).fetchall()
    first = [row[0] for row in rows]
    return [*first, *ddl.grants_on(cursor, oid, name), *ddl.comments_on(cursor, oid, "table", name)]
