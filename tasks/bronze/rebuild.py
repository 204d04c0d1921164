"""Loading a table anew from its retained batches, without touching the source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import psycopg
from psycopg import sql

from tasks import database
from tasks.bronze import kinds
from tasks.bronze.load import REPLAY, load_within, take_lock
from tasks.bronze.outcome import LoadResult
from tasks.bronze.plan import Column, FieldChange, RelationPlan, make_plan
from tasks.bronze.postgres import carryover, ddl, swap
from tasks.bronze.postgres.carryover import Carryover
from tasks.bronze.postgres.destination import Postgres
from tasks.errors import LoadError
from tasks.landing import Landing, Manifest
from tasks.ops import TableKey, batches, columns, field_statistics, migrations, rejects, resets, schema_changes
from tasks.ops import relations as named
from tasks.ops.relations import HISTORY, ROOT
from tasks.settings import Settings
from tasks.sources import TableRef


def rebuild_table(ref: TableRef, settings: Settings) -> list[LoadResult]:
    """Load a table anew from the landing, in one transaction: readers see the old rows, or the new ones.

    New relations are filled beside the old ones and take their places at the end, so nobody waits meanwhile. What
    batches from before the last complete one brought and none has since stays as it is: rows marked as deleted,
    rows whose document is rejected now, and earlier versions in the history. So do rights, comments, storage options,
    indexes and constraints of the relations, and views above.

    Column types are decided anew from all batches together, and each field has one column again, unless a view names
    another one of it: then all of them stay, with their values. Where something that people made stands against new
    relations, such as a materialized view or a trigger, the rows are replaced within the old ones, and every column
    stays as it is.

    Args:
        ref: The table.
        settings: Where warehouse and landing are.

    Returns:
        One result per batch; warnings of the last one tell what stayed as it was and why, and what was not made again.

    Raises:
        LoadError: The landing no longer holds all batches since the last complete one.
    """
    landing = Landing.open(settings.landing_root())
    with (
        database.connect(settings.database_url(), application="warehouse rebuild") as connection,
        database.named_errors(ref.name),
    ):
        migrations.migrate(connection)
        connection.commit()
        _name(connection, landing, ref)
        try:
            with connection.transaction():
                return _rebuild(connection.cursor(), landing, ref)
        except swap.CannotSwap as error:
            with connection.transaction():
                return _rebuild(connection.cursor(), landing, ref, str(error))


def base_of(manifests: Sequence[Manifest]) -> int | None:
    """Return the index of the last batch that a rebuild may start from, or None when there is none.

    It is one that holds the whole table: a snapshot, or the first read from the beginning. A batch of replayed rejects
    has the starting point of theirs, and holds those alone. Days of accounts are never the whole table, wherever their
    read began: with them all batches are needed.
    """
    for index in range(len(manifests) - 1, -1, -1):
        manifest = manifests[index]
        if REPLAY.search(manifest.batch_id):
            continue
        whole = not manifest.previous_checkpoint and manifest.parts and manifest.scope.type != "account_days"
        if manifest.scope.type == "snapshot" or whole:
            return index
    if manifests and manifests[0].scope.type == "account_days" and not manifests[0].previous_checkpoint:
        return 0
    return None


def _name(connection: psycopg.Connection[Any], landing: Landing, ref: TableRef) -> None:
    """Give names to relations that have none, apart from the rest: all other new tables wait for it."""
    with connection.transaction():
        cursor = connection.cursor()
        take_lock(cursor, *ref.key)
        children = {child for manifest in _retained(cursor, landing, ref) for child in manifest.children}
        named.add(cursor, ref.key, {ROOT, *children, *([HISTORY] if ref.table.history else [])})


def _rebuild(cursor: psycopg.Cursor[Any], landing: Landing, ref: TableRef, against: str = "") -> list[LoadResult]:
    """Rebuild within the caller's transaction.

    Args:
        cursor: In a transaction that ends with this.
        landing: Where the batches are.
        ref: The table.
        against: Why the relations cannot be swapped, and so keep their columns, if they cannot.

    Raises:
        CannotSwap: That has turned out.
    """
    key, history = ref.key, ref.table.history
    take_lock(cursor, *key)
    manifests = _retained(cursor, landing, ref)
    base = manifests[0]
    names = named.of_table(cursor, key)
    live = ddl.existing(cursor, names)
    aside = carryover.set_aside(cursor, key, live, base, history=history)
    targets: Mapping[str, str]
    if against:
        targets, told = names, [f"all columns keep their types: {against}"]
        for name in live.values():
            # Not truncated: readers see the rows until the transaction ends.
            cursor.execute(sql.SQL("delete from {}").format(ddl.relation(name)))
    else:
        swap.check(cursor, list(live.values()))
        shadows = targets = swap.make_shadows(cursor, names)
        told = _retype(cursor, key, landing, manifests, aside)
    carryover.bring_back(cursor, key, targets, aside, base, history=history)
    _forget(cursor, key, manifests)
    bronze = Postgres(cursor)
    results = [
        load_within(cursor, bronze, landing, manifest, ref.table, targets, rebuild=True) for manifest in manifests
    ]
    if HISTORY in aside and history:
        carryover.join_versions(cursor, targets[HISTORY], base)
    carryover.drop(cursor, aside)
    if not against:
        for child in live:
            carryover.make(cursor, key, child, targets[child])
        told += swap.swap(cursor, live, shadows)
    results[-1].warnings += told
    return results


def _retained(cursor: psycopg.Cursor[Any], landing: Landing, ref: TableRef) -> list[Manifest]:
    """Return the manifests to load, oldest first.

    Raises:
        LoadError: A loaded batch that is needed is no longer in the landing.
    """
    key = ref.key
    # What took the place of all rows is complete, even where the source had none.
    start = resets.last_replacing(cursor, key) or ""
    loaded = [batch_id for batch_id in batches.ids(cursor, key) if batch_id >= start]
    landed = set(landing.batches(*key))
    manifests = [landing.manifest(*key, batch_id) for batch_id in loaded if batch_id in landed]
    base = base_of(manifests)
    if base is None and start and start in landed:
        base = 0
    missing = [
        batch_id
        for batch_id in loaded
        if batch_id not in landed and (base is None or batch_id > manifests[base].batch_id)
    ]
    if base is None or missing:
        what = f"{len(missing)} loaded batches are no longer there" if missing else "no complete read is there"
        raise LoadError(
            f"the landing cannot rebuild the table: {what}", ref.name, "use `warehouse reset`, which reads the source"
        )
    return manifests[base:]


def _retype(
    cursor: psycopg.Cursor[Any],
    key: TableKey,
    landing: Landing,
    manifests: Sequence[Manifest],
    aside: Mapping[str, Carryover],
) -> list[str]:
    """Decide the kind of each known path anew, from all batches together; one column then takes all of its values.

    Returns:
        A sentence for each path whose columns stay, as views name another than the first, or rows that are kept hold
        what it could not.
    """
    columns.forget_vanished(cursor, key)
    relations = named.of_table(cursor, key)
    changes: list[FieldChange] = []
    as_is: list[str] = []
    for child, relation in relations.items():
        if child == HISTORY:
            # It has the columns of the table, which are decided there.
            continue
        plan = make_plan(child, columns.of_relation(cursor, key, child), [], {})
        alike = [relation] if child else [relation, relations.get(HISTORY, relation)]
        for path, column in plan.columns.items():
            variants = [other.name for other in plan.variants.get(path, [])]
            if variants and (views := ddl.naming(cursor, alike, variants)):
                as_is.append(_why_kept(plan, path, views))
                continue
            kind = _decide(child, path, plan.widest(path), manifests)
            if kind == "double" and (
                any(landing.beyond_double(manifest, child, [path]) for manifest in manifests)
                or _has_large(cursor, relation, column)
            ):
                kind = kinds.EXACT_OF_DOUBLE
            if not carryover.fits(cursor, aside, child, plan.of(path), kind):
                as_is.append(
                    f"{plan.field_name(path)} keeps its columns, as rows or versions from before the first batch that"
                    f" is landed hold what {kinds.PG_TYPES[kind]} could not"
                )
                continue
            new = replace(column, kind=kind)
            columns.retype(cursor, key, child, [new])
            if variants:
                columns.remove(cursor, key, child, variants)
                action = f"column {new.name} takes all values: {', '.join(variants)} gone"
                changes.append(FieldChange(plan.field_name(path), "widened", action, column.pg_type, new.pg_type))
    schema_changes.write(cursor, key, manifests[-1].batch_id, changes)
    return as_is


def _why_kept(plan: RelationPlan, path: str, views: Sequence[str]) -> str:
    first, *variants = (column.name for column in plan.of(path))
    return (
        f"{plan.field_name(path)} keeps its columns {first} and {', '.join(variants)}, with their values, as views name"
        f" more than the first: {', '.join(views)}; to have one column, drop these views, rebuild again, and make them"
        f" over {first} alone"
    )


def _decide(child: str, path: str, widest: str, manifests: Sequence[Manifest]) -> str:
    """Return the kind that takes what was seen at a path in all batches; as it was where nothing was."""
    seen: dict[str, int] = {}
    for manifest in manifests:
        part = manifest.children.get(child) if child else manifest
        if part is None or path not in part.fields:
            continue
        landed = kinds.landed_kinds(part.columns).get(path, [])
        counted = kinds.counts({path: landed}, {path: part.fields[path].types})[path] if landed else {}
        for name, count in counted.items():
            seen[name] = seen.get(name, 0) + count
    decided = kinds.weigh(seen) if seen else widest
    # A numeric may hold whole numbers that a double would not tell exactly.
    return widest if (decided, widest) == ("double", "decimal") else decided


def _has_large(cursor: psycopg.Cursor[Any], relation: str, column: Column) -> bool:
    """Return whether a relation's column holds whole numbers that no double represents."""
    if column.kind != "int" or not column.stored or not ddl.exists(cursor, relation):
        return False
    return ddl.inexact(cursor, [relation], column, replace(column, kind="double"))


def _forget(cursor: psycopg.Cursor[Any], key: TableKey, manifests: Sequence[Manifest]) -> None:
    """Forget that the batches were loaded; the checkpoint, the ledger and what extract rejected stay."""
    ids = [manifest.batch_id for manifest in manifests]
    batches.forget(cursor, key, ids)
    field_statistics.forget(cursor, key, ids)
    # What the landing holds as rejected is rejected still, under its number and with what replays said of it.
    rejects.forget(cursor, key, ids, stage="load")
