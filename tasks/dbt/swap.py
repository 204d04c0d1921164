"""Blue and green: relations are built and tested in schemas aside, then take the place of those that readers see.

All change places in one transaction, table by table, because a schema holds more than a run builds: what other tables
feed, incremental rows of years, and what people made there. Old relations move out first and are dropped afterwards, so
a reader that has begun goes on with what it began with. Locks are asked for in short tries; nobody queues behind one.

A model of the materialization incremental_by_key keeps its table: in the same transaction its changed rows are deleted
and made anew, which no reader waits for. Until then a view aside shows what the table will be.
"""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg import errors, sql

from tasks.bronze.postgres import ddl
from tasks.bronze.postgres.swap import indexes, inherit_default_privileges
from tasks.errors import DbtError

if TYPE_CHECKING:
    import psycopg

ASIDE = "__next"
"""What the name of a schema gets in which relations are built."""

_OLD = "__old_"
# One dbt run at a time, whoever starts it: two would build into the same schemas.
_LOCK = 0x7761_7265_6462_74
# What dbt/packages/core/macros/incremental_by_key.sql puts beside such a view: changed keys, and the rows made of them.
_CHANGED, _MADE = "__changed", "__made"
_KINDS = {"r": "table", "p": "table", "v": "view", "m": "materialized view"}
# Half of Postgres's deadlock_timeout: a reader that holds a view and waits for its table is never ended for it.
_LOCK_WAIT_MS = 500
_PAUSE_SECONDS = 0.5
# dbt gives indexes hashes for names.
_OF_DBT = re.compile(r'"?[0-9a-f]{32}"?')
# dbt's own test selects the column alone, of which all rows are null.
_NOT_NULL = re.compile(r"^\s*select\s+(\S+)\s+(from\s.*\swhere\s+\1\s+is\s+null)\s*$", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True)
class Relation:
    """A relation that has been built aside.

    Attributes:
        schema: The schema that readers find it in.
        name: Its name.
    """

    schema: str
    name: str

    def at(self, schema: str) -> sql.Identifier:
        """Return its name in a schema."""
        return sql.Identifier(schema, self.name)

    @property
    def live(self) -> sql.Identifier:
        """Where readers find it."""
        return self.at(self.schema)

    @property
    def aside(self) -> sql.Identifier:
        """Where it is built."""
        return self.at(self.schema + ASIDE)


def take_turn(connection: psycopg.Connection[Any], tell: Callable[[str], None]) -> None:
    """Wait until no other dbt run is under way; the turn ends with the connection."""
    row = connection.execute("select pg_try_advisory_lock(%s)", [_LOCK]).fetchone()
    if row is not None and not row[0]:
        tell("another dbt run is under way: waiting for its end")
        connection.execute("select pg_advisory_lock(%s)", [_LOCK])


def prepare(
    connection: psycopg.Connection[Any],
    schemas: Iterable[str],
    copied: Iterable[Relation] = (),
    viewed: Iterable[Relation] = (),
) -> None:
    """Make the schemas aside, empty but for the rows that incremental models and snapshots go on from.

    Args:
        connection: In autocommit.
        schemas: Schemas that readers find relations in.
        copied: Relations whose rows are copied. A copy takes as much disk as the relation, until the run ends.
        viewed: Relations that are built by key: a view shows their rows.
    """
    for schema in sorted(set(schemas)):
        connection.execute(sql.SQL("create schema if not exists {}").format(sql.Identifier(schema)))
        clean(connection, schema)
        connection.execute(sql.SQL("create schema {}").format(sql.Identifier(schema + ASIDE)))
        inherit_default_privileges(connection.cursor(), schema, schema + ASIDE)
    for relation in copied:
        with connection.transaction():
            _copy(connection, relation)
    for relation in viewed:
        connection.execute(sql.SQL("create view {} as select * from {}").format(relation.aside, relation.live))


def clean(connection: psycopg.Connection[Any], schema: str) -> None:
    """Drop what earlier runs left of a schema's relations aside and of its old ones; what is still read stays."""
    rows = connection.execute("select nspname from pg_namespace where starts_with(nspname, %s)", [schema]).fetchall()
    ours = re.compile(rf"{re.escape(schema)}({ASIDE}|{_OLD}\d+)")
    for (name,) in rows:
        if not ours.fullmatch(name):
            continue
        try:
            with connection.transaction():
                connection.execute(sql.SQL("set local lock_timeout = {}").format(4 * _LOCK_WAIT_MS))
                connection.execute(sql.SQL("drop schema {} cascade").format(sql.Identifier(name)))
        except errors.LockNotAvailable:
            # Somebody still reads an old relation; the next run tries again. A name aside must be free, though.
            if name == schema + ASIDE:
                raise DbtError(
                    f"{name} is in use: {_blockers(connection)}", "Postgres", "end that session, then run again"
                ) from None


def _copy(connection: psycopg.Connection[Any], relation: Relation) -> None:
    """Copy a table with its rows, then its keys and indexes, which are made faster over rows that are there."""
    live, aside = relation.live, relation.aside
    connection.execute(
        sql.SQL("create table {} (like {} including all excluding indexes excluding constraints)").format(aside, live)
    )
    connection.execute(sql.SQL("insert into {} overriding system value select * from {}").format(aside, live))
    cursor = connection.cursor()
    for index in indexes(cursor, live):
        cursor.execute(index.on(aside))


def swap(
    connection: psycopg.Connection[Any],
    relations: Sequence[Relation],
    by_key: Sequence[Relation],
    record: Callable[[], None],
    patience_seconds: float = 600.0,
) -> None:
    """Let relations built aside take the places of those that readers see, all in one transaction.

    Rights on the old ones pass to the new; views of people above the old ones are made again above the new.

    Args:
        connection: In autocommit.
        relations: What was built whole, those first that others read.
        by_key: What was built by key: its changed rows are replaced.
        record: Called within the transaction.
        patience_seconds: How long to go on trying while somebody holds one of the relations.

    Raises:
        DbtError: A view of people does not fit the new relations, rows break a constraint of their table, or the locks
            were not free in time; nothing changed.
    """
    with connection.transaction():
        # No reader waits for this, so it comes first and once.
        for relation in by_key:
            _replace_rows(connection, relation)
        for relation in relations:
            _keep_indexes(connection, relation)
        _take_places(connection, relations, by_key, patience_seconds)
        record()
    for schema in sorted({relation.schema for relation in (*relations, *by_key)}):
        clean(connection, schema)


def _replace_rows(connection: psycopg.Connection[Any], relation: Relation) -> None:
    aside = relation.schema + ASIDE
    parts: dict[str, sql.Composable] = {"live": relation.live}
    for role, suffix in (("changed", _CHANGED), ("made", _MADE)):
        table = sql.Identifier(aside, relation.name + suffix)
        names = connection.execute(
            "select attname from pg_attribute where attrelid = %s::regclass and attnum > 0 and not attisdropped",
            [table.as_string(connection)],
        ).fetchall()
        parts |= {role: table, f"{role}_columns": sql.SQL(", ").join(sql.Identifier(name) for (name,) in names)}
    try:
        connection.execute(
            sql.SQL("delete from {live} where {changed_columns} in (select {changed_columns} from {changed})").format(
                **parts
            )
        )
        connection.execute(
            sql.SQL("insert into {live} ({made_columns}) select {made_columns} from {made}").format(**parts)
        )
        cursor = connection.cursor()
        if (view := _find(cursor, relation, ASIDE)) is not None:
            name = relation.live.as_string(connection)
            ddl.describe_again(cursor, ddl.comments_on(cursor, view[0], "table", name))
    except errors.IntegrityError as error:
        raise DbtError(
            f"the new rows of {relation.schema}.{relation.name} do not fit it: {error.diag.message_primary}",
            f"{relation.schema}.{relation.name}",
            "correct the model, its unique_key or the data, then run again; the models keep their last good content",
        ) from error


def _keep_indexes(connection: psycopg.Connection[Any], relation: Relation) -> None:
    """Make the indexes of people on a table again on the one that takes its place."""
    cursor = connection.cursor()
    if any((_find(cursor, relation, suffix) or (0, ""))[1] != "r" for suffix in ("", ASIDE)):
        return
    there = {index.definition for index in indexes(cursor, relation.aside)}
    for index in indexes(cursor, relation.live):
        is_index = index.definition.startswith(("index", "unique index"))
        if not is_index or index.definition in there or _OF_DBT.fullmatch(index.name):
            continue
        try:
            with connection.transaction():
                cursor.execute(index.on(relation.aside))
        except errors.UndefinedColumn:
            # The new version does not have its column.
            continue
        except errors.Error as error:
            raise DbtError(
                f"the index {index.name} does not fit the new {relation.name}: {error.diag.message_primary}",
                f"{relation.schema}.{relation.name}",
                "drop the index or correct the model, then run again; the models keep their last good content",
            ) from error


def _take_places(
    connection: psycopg.Connection[Any], relations: Sequence[Relation], by_key: Sequence[Relation], patience: float
) -> None:
    """Swap relations once the locks are free; between tries no lock is held that a reader waits for."""
    deadline = time.monotonic() + patience
    while relations:
        try:
            with connection.transaction():
                connection.execute(sql.SQL("set local lock_timeout = {}").format(_LOCK_WAIT_MS))
                _swap(connection, relations, by_key)
            return
        except (errors.LockNotAvailable, errors.DeadlockDetected):
            if time.monotonic() > deadline:
                raise DbtError(
                    f"the new models could not take their places in {patience:.0f} s: {_blockers(connection)}",
                    "Postgres",
                    "end the session that holds a model, then run again; readers see the last good content",
                ) from None
            time.sleep(_PAUSE_SECONDS)


def _swap(connection: psycopg.Connection[Any], relations: Sequence[Relation], by_key: Sequence[Relation]) -> None:
    cursor = connection.cursor()
    # Names are written out in the definitions of views that are read below.
    cursor.execute("set local search_path = ''")
    old = {relation: found for relation in relations if (found := _find(cursor, relation))}
    views = _views_above(cursor, [oid for oid, _ in old.values()])
    grants = {
        relation: ddl.grants_on(cursor, oid, relation.live.as_string(cursor)) for relation, (oid, _) in old.items()
    }
    above = _views_above_rows(cursor, by_key, {relation.schema for relation in (*relations, *by_key)})
    graveyards = _graveyards(cursor, {relation.schema for relation in relations})
    # From above downwards: who reads a view holds that before its tables, and is let through.
    for view in reversed(views):
        cursor.execute(sql.SQL("drop view {}").format(sql.SQL(view.name)))
    for relation in reversed(relations):
        if relation in old:
            _move(cursor, relation, old[relation][1], relation.schema, graveyards[relation.schema])
    for relation in relations:
        found = _find(cursor, relation, ASIDE)
        if found is None:
            raise DbtError(f"{relation.schema}.{relation.name} was built, but is not there", "Postgres", "run again")
        if found[0] in above:
            ddl.create_view(cursor, above[found[0]])
        else:
            _move(cursor, relation, found[1], relation.schema + ASIDE, relation.schema)
        ddl.describe_again(cursor, grants.get(relation, ()))
    for view in views:
        try:
            ddl.create_view(cursor, view)
        except errors.ProgrammingError as error:
            raise DbtError(
                f"the view {view.name} does not fit the new models: {error.diag.message_primary}",
                view.name,
                f"correct it, or `drop view {view.name} cascade` if it is of an older version; then run again; the"
                " models keep their last good content",
            ) from error


def _find(cursor: psycopg.Cursor[Any], relation: Relation, suffix: str = "") -> tuple[int, str] | None:
    """Return oid and kind of a relation, None when it does not exist."""
    row = cursor.execute(
        "select c.oid, c.relkind::text from pg_class c join pg_namespace n on n.oid = c.relnamespace "
        "where n.nspname = %s and c.relname = %s",
        [relation.schema + suffix, relation.name],
    ).fetchone()
    return (row[0], row[1]) if row else None


def _move(cursor: psycopg.Cursor[Any], relation: Relation, kind: str, start: str, end: str) -> None:
    cursor.execute(
        sql.SQL("alter {} {} set schema {}").format(sql.SQL(_KINDS[kind]), relation.at(start), sql.Identifier(end))
    )


def _views_above(cursor: psycopg.Cursor[Any], oids: Sequence[int]) -> list[ddl.View]:
    """Return the views above old relations that are not among them: those of people, and models not built now."""
    found = ddl.views_over(cursor, oids)
    if found is None:
        raise DbtError(
            "a materialized view, or a view with triggers or rules, reads a model",
            "Postgres",
            "make it a model of the dbt project, or drop it; the models keep their last good content",
        )
    return found


def _views_above_rows(
    cursor: psycopg.Cursor[Any], by_key: Sequence[Relation], schemas: Iterable[str]
) -> dict[int, ddl.View]:
    """Return by oid the views aside that read what is built by key, written for where readers find it."""
    oids = [found[0] for relation in by_key if (found := _find(cursor, relation, ASIDE))]
    views = ddl.views_over(cursor, oids)
    if views is None:
        raise DbtError(
            "a materialized view reads a model of the materialization incremental_by_key",
            ", ".join(f"{relation.schema}.{relation.name}" for relation in by_key),
            "make it a table; the models keep their last good content",
        )
    rows = cursor.execute(
        "select quote_ident(name || %s) || '.', quote_ident(name) || '.' from unnest(%s::text[]) as name",
        [ASIDE, sorted(schemas)],
    ).fetchall()

    def at_home(text: str) -> str:
        for aside, home in rows:
            text = text.replace(aside, home)
        return text

    return {
        view.oid: dataclasses.replace(
            view,
            name=at_home(view.name),
            definition=at_home(view.definition),
            grants=tuple(map(at_home, view.grants)),
            comments=tuple(map(at_home, view.comments)),
        )
        for view in views
    }


def _graveyards(cursor: psycopg.Cursor[Any], schemas: Iterable[str]) -> Mapping[str, str]:
    """Make a schema for the old relations of each schema; a reader may still hold those of an earlier run."""
    made = {}
    for schema in sorted(schemas):
        rows = cursor.execute(
            "select nspname from pg_namespace where starts_with(nspname, %s)", [schema + _OLD]
        ).fetchall()
        taken = {row[0] for row in rows}
        number = next(n for n in range(1, len(taken) + 2) if f"{schema}{_OLD}{n}" not in taken)
        made[schema] = f"{schema}{_OLD}{number}"
        cursor.execute(sql.SQL("create schema {}").format(sql.Identifier(made[schema])))
    return made


def _blockers(connection: psycopg.Connection[Any]) -> str:
    """Return who holds relations for long, for people."""
    rows = connection.execute(
        "select format('session %s of %s (%s) since %s', pid, usename, application_name, xact_start) "
        "from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid() "
        "and xact_start < now() - interval '1 second' order by xact_start limit 3"
    ).fetchall()
    return "; ".join(row[0] for row in rows) or "somebody held a lock"


def samples(connection: psycopg.Connection[Any], queries: Mapping[str, str], rows: int = 5) -> dict[str, list[str]]:
    """Return ids of rows that failed tests.

    Args:
        connection: In autocommit.
        queries: The tests' compiled SQL by unique id.
        rows: How many ids at most.
    """
    found: dict[str, list[str]] = {}
    for key, query in queries.items():
        try:
            with connection.transaction():
                connection.execute("set local statement_timeout = '30s'")
                connection.execute("set transaction read only")
                whole = _NOT_NULL.sub(r"select * \2", query.rstrip().rstrip(";"))
                shown = f"select * from ({whole}\n) as failing limit {rows}"  # noqa: S608 - dbt's SQL
                cursor = connection.execute(shown)
                names = [column.name for column in cursor.description or ()]
                column = _id_column(names)
                found[key] = [f"{names[column]}={str(row[column])[:100]}" for row in cursor.fetchall()] if names else []
        except errors.Error:
            # Only for people; that the test failed is known without.
            continue
    return found


def _id_column(names: Sequence[str]) -> int:
    """Return which column names a row: its own id, the value that a test complains of, else the first."""
    for wanted in (r"_id", r"unique_field|value_field|from_field", r"\w+_id", r"id"):
        for column, name in enumerate(names):
            if re.fullmatch(wanted, name):
                return column
    return 0
