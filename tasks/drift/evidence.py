"""Evidence of drift: how often fields are present, which vanished, and which were probably renamed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg import sql

from tasks.bronze import ddl, kinds
from tasks.bronze.plan import Column, FieldChange, RelationPlan, quoted, reading
from tasks.drift import notice
from tasks.drift.chance import is_gone
from tasks.landing import Manifest
from tasks.ops import TableKey, columns, field_statistics, usual_fields
from tasks.ops.field_statistics import FieldStatistics, Presence

_RECENT_BATCHES = 20
# A rename is suggested when nine of ten updated rows carry the old column's value under the new name.
_SAME_SHARE = 0.9
_LEAST_ROWS = 3
_SAMPLE_ROWS = 20_000
_MOST_PAIRS = 400


def write_statistics(
    cursor: psycopg.Cursor[Any],
    manifest: Manifest,
    child: str,
    fields: Mapping[str, Any],
    rows: int,
    rescued: Mapping[str, int],
    sanitised: Mapping[str, int],
) -> None:
    """Write the batch's field statistics.

    Args:
        cursor: Inside the load's transaction.
        manifest: The batch.
        child: Path of the array, empty for the table itself.
        fields: By path what extract counted.
        rows: Rows that extract counted.
        rescued: By path how many values are in `_rescued` alone.
        sanitised: By path how many values are in their column in another form.
    """
    if not fields:
        return
    found = (
        FieldStatistics(
            path,
            statistics["present"],
            statistics["types"].get("null", 0),
            statistics["empty"],
            statistics["types"],
            rescued.get(path, 0),
            sanitised.get(path, 0),
        )
        for path, statistics in fields.items()
    )
    field_statistics.write(cursor, _key(manifest), manifest.batch_id, child, rows, manifest.extracted_at, found)


def vanished_and_back(
    cursor: psycopg.Cursor[Any], manifest: Manifest, plan: RelationPlan, fields: Mapping[str, Any], rows: int
) -> dict[str, FieldChange]:
    """Return by path the fields that no document of this batch carries although it should, and those that came back.

    Must run before the batch's own statistics are written.
    """
    known = [path for path, column in plan.columns.items() if not column.new]
    if not rows or not known:
        return {}
    absent = [path for path in known if not fields.get(path, {}).get("present") and not plan.columns[path].vanished]
    back = [path for path in known if fields.get(path, {}).get("present") and plan.columns[path].vanished]
    before: dict[str, Presence] = {}
    if absent:
        before = field_statistics.presence(cursor, _key(manifest), plan.child, manifest.batch_id, _RECENT_BATCHES)
    changes = {}
    for path in absent:
        rate, rows_without = before.get(path, Presence(0.0, 0))
        if is_gone(rate, rows_without + rows):
            evidence = {"rows": rows_without + rows, "presence_before": round(rate, 6)}
            column = plan.columns[path]
            changes[path] = FieldChange(
                plan.field_name(path), "vanished", "column kept", column.pg_type, None, evidence
            )
    for path in back:
        evidence = {"rows": rows, "present": fields[path]["present"]}
        changes[path] = FieldChange(plan.field_name(path), "reappeared", "column used again", None, None, evidence)
    return changes


def unusual(
    cursor: psycopg.Cursor[Any], manifest: Manifest, plan: RelationPlan, fields: Mapping[str, Any], rows: int
) -> list[FieldChange]:
    """Return what changed in the fields of one relation, and keep what is usual after the batch.

    Args:
        cursor: Inside the load's transaction.
        manifest: The batch, which no younger one was loaded before.
        plan: Of the relation.
        fields: By path what extract counted.
        rows: Rows that extract counted.
    """
    if not rows:
        return []
    kept = usual_fields.read(cursor, _key(manifest), plan.child)
    usual = {path: notice.Usual.model_validate(one) for path, one in kept.items()}
    found = list(notice.changes(usual, fields, rows, plan.field_name))
    after = {path: one.model_dump(exclude_defaults=True) for path, one in usual.items()}
    usual_fields.write(cursor, _key(manifest), plan.child, manifest.batch_id, after)
    return found


def mark(cursor: psycopg.Cursor[Any], manifest: Manifest, child: str, changes: Mapping[str, FieldChange]) -> None:
    """Note in the name map which fields vanished and which came back."""
    for path, change in changes.items():
        batch_id = manifest.batch_id if change.change == "vanished" else None
        columns.mark_vanished(cursor, _key(manifest), child, path, batch_id)


def _key(manifest: Manifest) -> TableKey:
    return TableKey(manifest.source, manifest.table)


def renames(cursor: psycopg.Cursor[Any], relation: str, plan: RelationPlan, stage: str) -> list[FieldChange]:
    """Return probable renames: new fields whose value equals what an old column, now absent, held for the same rows.

    Args:
        cursor: Inside the load's transaction, after staging and before the merge.
        relation: The table's relation, with its rows as they were before the batch.
        plan: Its plan.
        stage: Staged rows.
    """
    stored = [column for column in plan.columns.values() if column.stored]
    new = [column for column in stored if column.new]
    old = [column for column in stored if not column.new]
    pairs = [(n, o) for n in new for o in old if _comparable(n, o)][:_MOST_PAIRS]
    if not pairs:
        return []
    counts = sql.SQL(", ").join(_counted(n, o) for n, o in pairs)
    row = cursor.execute(
        sql.SQL("select {counts} from (select * from {stage} limit {limit}) s join {target} t on t._id = s._id").format(
            counts=counts,
            stage=sql.Identifier(stage),
            limit=_SAMPLE_ROWS,
            target=ddl.relation(relation),
        )
    ).fetchone()
    found = []
    best: dict[str, tuple[float, FieldChange]] = {}
    for (n, o), (both, same, distinct) in zip(pairs, row or (), strict=True):
        # One repeated value (a status, a currency) proves nothing.
        if both < _LEAST_ROWS or distinct < 2 or same / both < _SAME_SHARE:
            continue
        change = _rename(plan, n, o, both, same, distinct)
        if n.path not in best or best[n.path][0] < same / both:
            best[n.path] = (same / both, change)
    found += [change for _, change in best.values()]
    return found


def _comparable(new: Column, old: Column) -> bool:
    """Return whether equal values can tell a rename; of numbers the old column may be the wider one, or the new."""
    if new.pg_type == old.pg_type:
        return new.pg_type != "boolean"
    return {new.kind, old.kind} <= {*kinds.NUMBERS}


def _counted(new: Column, old: Column) -> sql.Composed:
    """Return an array: rows that moved from old to new, those with the same value, and how many distinct values."""
    names: dict[str, sql.Composable] = {"new": sql.Identifier(new.name), "old": sql.Identifier(old.name)}
    same = "s.{new} = t.{old}" if new.pg_type == old.pg_type else "s.{new}::text::numeric = t.{old}::text::numeric"
    names["same"] = sql.SQL(same).format(**names)
    moved = sql.SQL("s.{new} is not null and t.{old} is not null and s.{old} is null").format(**names)
    return sql.SQL(
        "array[count(*) filter (where {moved}), count(*) filter (where {moved} and {same}),"
        " count(distinct case when {moved} then md5(s.{new}::text) end)]"
    ).format(moved=moved, **names)


def _rename(plan: RelationPlan, new: Column, old: Column, both: int, same: int, distinct: int) -> FieldChange:
    evidence = {
        "renamed_from": plan.field_name(old.path),
        "rows_compared": both,
        "rows_equal": same,
        "share": round(same / both, 4),
        "distinct_values": distinct,
        "dbt": coalesce_line(new, old),
    }
    action = f"probably renamed from {plan.field_name(old.path)}: both columns kept"
    return FieldChange(plan.field_name(new.path), "renamed", action, old.pg_type, new.pg_type, evidence)


def coalesce_line(new: Column, old: Column) -> str:
    """Return the line of a dbt model that reads both names as one, exactly."""
    return f"{reading([old, new])} as {quoted(new.name)}"
