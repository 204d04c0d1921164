"""The statements that bring staged rows into a bronze relation; each touches only rows that change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import sql

from tasks.bronze.destination import Stamp
from tasks.bronze.plan import RelationPlan
from tasks.bronze.postgres import ddl

STAGE = "warehouse_stage"
TOUCHED = "warehouse_touched"
GONE = "warehouse_gone"
IDS = "warehouse_ids"
# `_seq` is the number of the decoder's flush, then the row within its part: child rows share their roots' flush.
SEQUENCE_BITS = 40


def parameters(stamp: Stamp) -> dict[str, Any]:
    """Return a stamp as query parameters."""
    return {"batch": stamp.batch_id, "extracted": stamp.extracted_at, "loaded": stamp.loaded_at}


def stage_name(number: int) -> str:
    """Return the staging table's name for a relation of the batch, by its number: the table itself has 0."""
    return f"{STAGE}_{number}" if number else STAGE


def stage_types(plan: RelationPlan) -> list[tuple[str, str]]:
    """Return the columns of a staging table. Never first: a text, whose backslash could end a CSV COPY."""
    head: list[tuple[str, str]] = [("_seq", "bigint")]
    if not plan.child:
        head += [("_hash", "uuid"), ("_op", "text")]
    return [*head, *ddl.meta_before(plan.child), *((c.name, c.pg_type) for c in plan.stored), ("_rescued", "jsonb")]


def create_stage(cursor: psycopg.Cursor[Any], name: str, types: Sequence[tuple[str, str]]) -> None:
    """Create a staging table that lives as long as the transaction; temporary, so nothing is logged or left behind."""
    columns = sql.SQL(", ").join(
        sql.SQL("{} {}").format(sql.Identifier(column), sql.SQL(pg_type)) for column, pg_type in types
    )
    cursor.execute(sql.SQL("create temporary table {} ({}) on commit drop").format(sql.Identifier(name), columns))


def drop_stages(cursor: psycopg.Cursor[Any]) -> None:
    """Drop the temporary tables of a load whose transaction goes on."""
    rows = cursor.execute(
        "select relname from pg_class where relnamespace = pg_my_temp_schema() and relkind = 'r'"
        " and relname like 'warehouse\\_%'"
    ).fetchall()
    for row in rows:
        cursor.execute(sql.SQL("drop table pg_temp.{}").format(sql.Identifier(row[0])))


def keep_last(cursor: psycopg.Cursor[Any], stage: str) -> int:
    """Keep the last row of each `_id` in staging; return how many earlier ones went."""
    cursor.execute(
        sql.SQL(
            "delete from {stage} s using"
            " (select _id, max(_seq) as last from {stage} group by _id having count(*) > 1) d"
            " where s._id = d._id and s._seq < d.last"
        ).format(stage=sql.Identifier(stage))
    )
    return cursor.rowcount


def keep_last_children(cursor: psycopg.Cursor[Any], stage: str) -> None:
    """Keep the child rows that came with the last version of their root; `keep_last` of the roots comes before."""
    cursor.execute(
        sql.SQL(
            "delete from {} c using {} s where s._id = c._root_id and c._seq < (s._seq >> {bits} << {bits})"
        ).format(sql.Identifier(stage), sql.Identifier(STAGE), bits=sql.Literal(SEQUENCE_BITS))
    )
    keep_last(cursor, stage)


def drop_older(cursor: psycopg.Cursor[Any], name: str, stamp: Stamp) -> None:
    """Take out of staging what bronze already holds from a later read."""
    cursor.execute(
        sql.SQL("delete from {} s using {} t where t._id = s._id and t._extracted_at > %(extracted)s").format(
            sql.Identifier(STAGE), ddl.relation(name)
        ),
        parameters(stamp),
    )


def update_rows(cursor: psycopg.Cursor[Any], name: str, plan: RelationPlan, stamp: Stamp, track: bool) -> int:
    """Update the rows whose hash differs, and those that were deleted and are back.

    Args:
        cursor: Inside the transaction.
        name: Relation.
        plan: Its plan.
        stamp: The batch's stamp.
        track: Whether to remember the keys of written rows in the temporary table `TOUCHED`.
    """
    columns = [*(sql.Identifier(column.name) for column in plan.stored), sql.Identifier("_rescued")]
    sets = sql.SQL(", ").join(sql.SQL("{0} = s.{0}").format(column) for column in columns)
    update = sql.SQL(
        "update {target} t set {sets}, _hash = s._hash, _batch_id = %(batch)s, _extracted_at = %(extracted)s,"
        " _loaded_at = %(loaded)s, _deleted_at = null from {stage} s"
        " where s._id = t._id and s._op is distinct from 'd'"
        " and (t._hash is distinct from s._hash or t._deleted_at is not null)"
    ).format(target=ddl.relation(name), sets=sets, stage=sql.Identifier(STAGE))
    return _execute(cursor, update, stamp, TOUCHED if track else None, "t._id")


def insert_rows(cursor: psycopg.Cursor[Any], name: str, plan: RelationPlan, stamp: Stamp, track: bool) -> int:
    """Insert the rows that are new, in key order; see `update_rows`."""
    columns = ["_id", *(column.name for column in plan.stored), "_rescued", "_hash"]
    insert = sql.SQL(
        "insert into {target} ({names}, _batch_id, _extracted_at, _loaded_at)"
        " select {names}, %(batch)s, %(extracted)s, %(loaded)s from {stage} s where s._op is distinct from 'd'"
        " and not exists (select from {target} t where t._id = s._id) order by s._id"
    ).format(
        target=ddl.relation(name),
        names=sql.SQL(", ").join(sql.Identifier(column) for column in columns),
        stage=sql.Identifier(STAGE),
    )
    return _execute(cursor, insert, stamp, TOUCHED if track else None, "_id")


def _execute(
    cursor: psycopg.Cursor[Any], statement: sql.Composed, stamp: Stamp, keys: str | None, returned: str, **more: Any
) -> int:
    """Run a statement and return its row count; with `keys` also write the keys of its rows to that table."""
    values = parameters(stamp) | more
    if keys is None:
        cursor.execute(statement, values)
        return cursor.rowcount
    cursor.execute(
        sql.SQL("with changed as ({} returning {} as _id) insert into {} select _id from changed").format(
            statement,
            sql.SQL(returned),
            sql.Identifier(keys),
        ),
        values,
    )
    return cursor.rowcount


def create_key_table(cursor: psycopg.Cursor[Any], name: str) -> None:
    """Create a temporary table of keys."""
    cursor.execute(sql.SQL("create temporary table {} (_id text) on commit drop").format(sql.Identifier(name)))


def delete_rows(
    cursor: psycopg.Cursor[Any],
    name: str,
    stamp: Stamp,
    condition: sql.Composable,
    *,
    hard: bool,
    track: bool,
    **more: Any,
) -> int:
    """Mark (or remove, when `hard`) the live rows `t` that fulfil a condition; their values stay as they were."""
    if hard:
        action = sql.SQL("delete from {} t").format(ddl.relation(name))
        alive = sql.SQL("true")
    else:
        action = sql.SQL(
            "update {} t set _deleted_at = %(extracted)s, _loaded_at = %(loaded)s, _batch_id = %(batch)s"
        ).format(ddl.relation(name))
        alive = sql.SQL("t._deleted_at is null")
    statement = sql.SQL("{} where {} and ({})").format(action, alive, condition)
    return _execute(cursor, statement, stamp, GONE if track else None, "t._id", **more)


def not_in(table: str) -> sql.Composed:
    """Return the condition that a row's key is not in a temporary table."""
    return sql.SQL("not exists (select from {} k where k._id = t._id)").format(sql.Identifier(table))


def replace_children(
    cursor: psycopg.Cursor[Any], name: str, stage: str, plan: RelationPlan, stamp: Stamp, *, hard: bool
) -> int:
    """Replace all child rows of every root that was written, and mark those of roots that are gone.

    Returns:
        Child rows inserted.
    """
    target, staged, touched = ddl.relation(name), sql.Identifier(stage), sql.Identifier(TOUCHED)
    cursor.execute(sql.SQL("delete from {} t using {} k where t._root_id = k._id").format(target, touched))
    names = sql.SQL(", ").join(
        sql.Identifier(column)
        for column in [
            *(column for column, _ in ddl.meta_before(plan.child)),
            *(column.name for column in plan.stored),
            "_rescued",
        ]
    )
    cursor.execute(
        sql.SQL(
            "insert into {target} ({names}, _batch_id, _extracted_at, _loaded_at)"
            " select {names}, %(batch)s, %(extracted)s, %(loaded)s from {staged} s"
            " where exists (select from {touched} k where k._id = s._root_id) order by s._seq"
        ).format(target=target, names=names, staged=staged, touched=touched),
        parameters(stamp),
    )
    inserted = cursor.rowcount
    gone = sql.SQL("exists (select from {} k where k._id = t._root_id)").format(sql.Identifier(GONE))
    delete_rows(cursor, name, stamp, gone, hard=hard, track=False)
    return inserted


def write_history(cursor: psycopg.Cursor[Any], name: str, history: str, plan: RelationPlan, stamp: Stamp) -> None:
    """Close the versions of rows that were written or are gone, and open those of the rows written."""
    cursor.execute(
        sql.SQL(
            "update {history} h set _valid_to = %(extracted)s where h._valid_to is null and h._id in"
            " (select _id from {touched} union all select _id from {gone})"
        ).format(history=ddl.relation(history), touched=sql.Identifier(TOUCHED), gone=sql.Identifier(GONE)),
        parameters(stamp),
    )
    where = sql.SQL("exists (select from {} k where k._id = t._id)").format(sql.Identifier(TOUCHED))
    open_versions(cursor, name, history, plan, where)


def open_versions(
    cursor: psycopg.Cursor[Any], name: str, history: str, plan: RelationPlan, where: sql.Composable
) -> None:
    """Write the present version of rows `t` into the history, valid from when they were read."""
    names = [column for column, _ in ddl.meta_before("")]
    names += [column.name for column in plan.stored]
    names += [column for column, _ in ddl.meta_after("")]
    listed = sql.SQL(", ").join(sql.Identifier(column) for column in names)
    cursor.execute(
        sql.SQL(
            "insert into {history} ({names}, _valid_from) select {names}, _extracted_at from {target} t where {where}"
        ).format(history=ddl.relation(history), names=listed, target=ddl.relation(name), where=where)
    )
