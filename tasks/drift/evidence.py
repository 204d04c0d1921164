"""Evidence of drift: how often fields are present, which vanished, and which were probably renamed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg

from tasks.bronze import kinds
from tasks.bronze.plan import Column, FieldChange, RelationPlan, quoted, reading
from tasks.drift import notice
from tasks.drift.chance import is_gone
from tasks.landing import Manifest
from tasks.landing.manifest import Child
from tasks.ops import TableKey, field_statistics, usual_fields
from tasks.ops.field_statistics import FieldStatistics, Presence

_RECENT_BATCHES = 20
# A rename is suggested when nine of ten updated rows carry the old column's value under the new name.
_SAME_SHARE = 0.9
_LEAST_ROWS = 3
_MOST_PAIRS = 400


def counted(manifest: Manifest, child: str) -> tuple[dict[str, Any], int]:
    """Return by path what extract counted of the fields of one relation, and of how many rows."""
    found = manifest.children[child] if child else manifest
    rows = found.rows if isinstance(found, Child) else found.rows_read or found.rows
    return {path: statistics.model_dump() for path, statistics in found.fields.items()}, rows


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


def _key(manifest: Manifest) -> TableKey:
    return TableKey(manifest.source, manifest.table)


def rename_pairs(plan: RelationPlan) -> list[tuple[Column, Column]]:
    """Return the new columns of a relation, each with the old ones of which it may be a new name."""
    stored = [column for column in plan.columns.values() if column.stored]
    new = [column for column in stored if column.new]
    old = [column for column in stored if not column.new]
    return [(n, o) for n in new for o in old if _comparable(n, o)][:_MOST_PAIRS]


def renames(
    plan: RelationPlan, pairs: Sequence[tuple[Column, Column]], compared: Sequence[tuple[int, int, int]]
) -> list[FieldChange]:
    """Return probable renames: new fields whose value equals what an old column, now absent, held for the same rows.

    Args:
        plan: Of the table.
        pairs: As `rename_pairs` gives them.
        compared: For each pair: rows that moved from old to new, those with the same value, and how many distinct
            values; none where no row was compared.
    """
    best: dict[str, tuple[float, FieldChange]] = {}
    for (n, o), (both, same, distinct) in zip(pairs, compared, strict=False):
        # One repeated value (a status, a currency) proves nothing.
        if both < _LEAST_ROWS or distinct < 2 or same / both < _SAME_SHARE:
            continue
        change = _rename(plan, n, o, both, same, distinct)
        if n.path not in best or best[n.path][0] < same / both:
            best[n.path] = (same / both, change)
    return [change for _, change in best.values()]


def _comparable(new: Column, old: Column) -> bool:
    """Return whether equal values can tell a rename; of numbers the old column may be the wider one, or the new."""
    if new.pg_type == old.pg_type:
        return new.pg_type != "boolean"
    return {new.kind, old.kind} <= {*kinds.NUMBERS}


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
