"""Replacing all rows of a table in Postgres: the batch that a reset waits for takes the place of what is there.

It is loaded beside the relations that readers see, counted, and swapped with them in the same transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from tasks.bronze.postgres import carryover, ddl, swap
from tasks.errors import LoadError
from tasks.landing import Manifest
from tasks.ops import TableKey, rejects
from tasks.ops.relations import HISTORY, ROOT

if TYPE_CHECKING:
    from tasks.bronze.outcome import LoadResult


def replace(
    cursor: psycopg.Cursor[Any],
    manifest: Manifest,
    names: Mapping[str, str],
    history: bool,
    load: Callable[[Mapping[str, str]], LoadResult],
) -> LoadResult:
    """Load a batch in place of all rows, within the caller's transaction; see `Destination.replace`."""
    try:
        with cursor.connection.transaction():
            return _replace(cursor, manifest, names, history, load)
    except swap.CannotSwap as error:
        with cursor.connection.transaction():
            return _replace(cursor, manifest, names, history, load, against=str(error))


def _replace(
    cursor: psycopg.Cursor[Any],
    manifest: Manifest,
    names: Mapping[str, str],
    history: bool,
    load: Callable[[Mapping[str, str]], LoadResult],
    against: str = "",
) -> LoadResult:
    """Load a batch in place of all rows.

    Args:
        cursor: In a transaction that ends with this.
        manifest: The batch, its names and columns final.
        names: By child the table's relations.
        history: Whether versions are kept.
        load: Loads it into the relations that it is given.
        against: Why the relations cannot be swapped, if they cannot: then rows are replaced within them.

    Raises:
        CannotSwap: That has turned out.
    """
    key = TableKey(manifest.source, manifest.table)
    live = ddl.existing(cursor, names)
    live.pop(HISTORY, None)
    if not against:
        swap.check(cursor, list(live.values()))
    shadows = swap.make_shadows(cursor, {child: name for child, name in names.items() if child != HISTORY})
    old: Mapping[str, str]
    if against:
        old, targets = {child: shadows[child] for child in live}, names
        _move_rows(cursor, live, old)
    else:
        # Versions stay where they are: what is read anew goes on from them.
        old, targets = live, {**names, **shadows}
        if history:
            carryover.make(cursor, key, ROOT, targets[ROOT])
    result = load(targets)
    for child in live:
        carryover.make(cursor, key, child, targets[child])
    _confirm(cursor, result, targets[ROOT], _keep_unreadable(cursor, key, manifest, old, targets))
    if history:
        _end_versions(cursor, manifest, targets)
    if against:
        swap.drop_shadows(cursor, shadows)
        result.warnings.append(f"rows were replaced within the relations: {against}")
    else:
        result.warnings += swap.swap(cursor, live, shadows)
    return result


def _move_rows(cursor: psycopg.Cursor[Any], live: Mapping[str, str], to: Mapping[str, str]) -> None:
    for child, name in live.items():
        cursor.execute(sql.SQL("create table {} as table {}").format(ddl.relation(to[child]), ddl.relation(name)))
        # Not truncated: readers see the rows until the transaction ends.
        cursor.execute(sql.SQL("delete from {}").format(ddl.relation(name)))


def _keep_unreadable(
    cursor: psycopg.Cursor[Any], key: TableKey, manifest: Manifest, old: Mapping[str, str], targets: Mapping[str, str]
) -> int:
    """Keep the rows of documents that are at the source and were rejected; return how many.

    Where a rejected document has no readable `_id`, that may be any of the rows that the batch has not.
    """
    ids = rejects.ids_of(cursor, key, manifest.batch_id)
    if not ids:
        return 0
    cursor.execute(
        sql.SQL(
            "create temporary table warehouse_unreadable on commit drop as select o._id from {old} o"
            " where o._deleted_at is null and (o._id = any(%(ids)s) or %(any)s)"
            " and not exists (select from {new} n where n._id = o._id)"
        ).format(old=ddl.relation(old[ROOT]), new=ddl.relation(targets[ROOT])),
        {"ids": [one for one in ids if one is not None], "any": None in ids},
    )
    for child, name in old.items():
        columns = cursor.execute(
            "select quote_ident(attname) from pg_attribute where attrelid = %s and attnum > 0 and not attisdropped"
            " intersect"
            " select quote_ident(attname) from pg_attribute where attrelid = %s and attnum > 0 and not attisdropped",
            [ddl.oid(cursor, name), ddl.oid(cursor, targets[child])],
        ).fetchall()
        cursor.execute(
            sql.SQL(
                "insert into {new} ({columns}) select {columns} from {old} where {id} in"
                " (select _id from warehouse_unreadable)"
            ).format(
                new=ddl.relation(targets[child]),
                old=ddl.relation(name),
                columns=sql.SQL(", ").join(sql.SQL(row[0]) for row in columns),
                id=sql.Identifier("_root_id" if child else "_id"),
            )
        )
    [[count]] = cursor.execute("select count(*) from warehouse_unreadable").fetchall()
    return int(count)


def _confirm(cursor: psycopg.Cursor[Any], result: LoadResult, name: str, unreadable: int) -> None:
    """Count the rows before readers see them.

    Raises:
        LoadError: There are others than were loaded.
    """
    [[there]] = cursor.execute(
        sql.SQL("select count(*) from {} where _deleted_at is null").format(ddl.relation(name))
    ).fetchall()
    expected = result.inserted + unreadable
    if there != expected:
        raise LoadError(
            f"{expected} rows were loaded and {there} are there; the old rows stay",
            f"{result.source}.{result.table_name} batch {result.batch_id}",
            "run again, and report it if it comes back",
        )
    if unreadable:
        result.warnings.append(f"{unreadable} row(s) stay as they were, as their documents were rejected")


def _end_versions(cursor: psycopg.Cursor[Any], manifest: Manifest, targets: Mapping[str, str]) -> None:
    """End the versions of rows that are gone, and make one of two that the reading anew split."""
    cursor.execute(
        sql.SQL(
            "update {history} h set _valid_to = %s where _valid_to is null"
            " and not exists (select from {root} t where t._id = h._id)"
        ).format(history=ddl.relation(targets[HISTORY]), root=ddl.relation(targets[ROOT])),
        [manifest.extracted_at],
    )
    carryover.join_versions(cursor, targets[HISTORY], manifest)
