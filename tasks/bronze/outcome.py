"""What loading one batch did: all that the control tables are told of it, and the writing of that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import polars as pl
import psycopg
from pydantic import TypeAdapter

from tasks.bronze.destination import Refused
from tasks.bronze.plan import Column, FieldChange, make_plan
from tasks.drift import evidence, origin
from tasks.landing import AccountDaysScope, Landing, Manifest
from tasks.landing.kinds import document_of
from tasks.landing.manifest import Part
from tasks.ops import TableKey, batches, columns, field_statistics, pulls, rejects, resets, schema_changes
from tasks.ops import checkpoints as stored
from tasks.ops.batches import Batch, Counts
from tasks.ops.pulls import DayHeld
from tasks.ops.rejects import NewReject
from tasks.table_metrics import TableMetrics


@dataclass
class LoadResult:
    """What loading one batch did.

    Attributes:
        status: `loaded`; `already_loaded`, a no-op; or `superseded`, when a newer batch from the same checkpoint
            is in bronze and holds all of this one.
        warnings: Sentences for the run report.
        plan: `first` (straight into a new table), `staged` (staging and merge), or `none`.
    """

    source: str
    table_name: str
    batch_id: str
    status: str = "loaded"
    plan: str = "none"
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0
    rejected: int = 0
    rescued: int = 0
    child_rows: int = 0
    schema_changes: int = 0
    warned: int = 0
    rows_landed: int = 0
    seconds: float = 0.0
    window: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @property
    def counts(self) -> Counts:
        """What `ops.batches` keeps."""
        return Counts(
            rows_inserted=self.inserted,
            rows_updated=self.updated,
            rows_unchanged=self.unchanged,
            rows_deleted=self.deleted,
            rows_rejected=self.rejected,
            rows_rescued=self.rescued,
            child_rows=self.child_rows,
            schema_changes=self.schema_changes,
        )


@dataclass(frozen=True, kw_only=True)
class LoadMetrics(TableMetrics):
    """The columns of monitoring.pipeline_log that loading knows."""

    rows_loaded: int = 0
    rows_unchanged: int = 0
    rows_rescued: int = 0
    rows_deleted: int = 0
    schema_changes: int = 0

    @classmethod
    def of(cls, results: Sequence[LoadResult]) -> LoadMetrics:
        """Return the sums over batches of one table, oldest first; there is at least one."""
        return cls(
            rows_landed=sum(one.rows_landed for one in results),
            rows_rejected=sum(one.rejected for one in results),
            rows_warned=sum(one.warned for one in results),
            rows_loaded=sum(one.inserted + one.updated for one in results),
            rows_unchanged=sum(one.unchanged for one in results),
            rows_rescued=sum(one.rescued for one in results),
            rows_deleted=sum(one.deleted for one in results),
            schema_changes=sum(one.schema_changes for one in results),
            seconds=round(sum(one.seconds for one in results), 3),
            window_from=_text_or_none(results[0].window.get("from")),
            window_to=_text_or_none(results[-1].window.get("to")),
            batch_id=results[-1].batch_id,
        )


def _text_or_none(value: object) -> str | None:
    return None if value is None else str(value)


@dataclass
class RelationOutcome:
    """What a batch means for the control tables of one relation.

    Attributes:
        child: Path of the array, empty for the table itself.
        new: Columns that the name map does not have yet.
        retyped: Those whose kind is another than it says.
        vanished: By path whether no document carries the field any more, or some do again.
        rescued: By path how many values are in `_rescued` alone.
        sanitised: By path how many are in their column in another form.
    """

    child: str
    new: list[Column]
    retyped: list[Column]
    vanished: dict[str, bool] = field(default_factory=dict)
    rescued: dict[str, int] = field(default_factory=dict)
    sanitised: dict[str, int] = field(default_factory=dict)


@dataclass
class Outcome:
    """What a batch did at its destination, as the control tables are told of it.

    Attributes:
        result: Its counts.
        loaded_at: What its rows carry.
        late: Whether later reads may have been there: then checkpoint and what is usual stay.
        rebuild: Whether it was loaded before: then ledger, rejects of extract and pulls stay as well.
        relations: The table itself first.
        changes: For the ledger.
        held: By document why it stayed out.
        refused: Rows that the destination refused.
        days: What it holds of the days that were replaced.
    """

    result: LoadResult
    loaded_at: datetime
    late: bool
    rebuild: bool
    relations: list[RelationOutcome] = field(default_factory=list)
    changes: list[FieldChange] = field(default_factory=list)
    held: dict[str, str] = field(default_factory=dict)
    refused: list[Refused] = field(default_factory=list)
    days: list[DayHeld] = field(default_factory=list)

    def dump(self) -> str:
        """Return it as JSON."""
        return _OUTCOME.dump_json(self).decode()

    @classmethod
    def read(cls, text: str) -> Outcome:
        """Return what `dump` wrote."""
        return _OUTCOME.validate_json(text)


_OUTCOME = TypeAdapter(Outcome)


def record(cursor: psycopg.Cursor[Any], landing: Landing, manifest: Manifest, outcome: Outcome) -> LoadResult:
    """Tell the control tables what a batch did, in the caller's transaction, which holds the table's lock.

    Returns:
        The result, complete.
    """
    key, result = TableKey(manifest.source, manifest.table), outcome.result
    _record_rejects(cursor, landing, manifest, outcome)
    # A batch whose row in ops.batches was taken out by hand is loaded once more.
    field_statistics.forget(cursor, key, [manifest.batch_id])
    changes = list(outcome.changes)
    for relation in outcome.relations:
        changes += _record_relation(cursor, manifest, outcome, relation)
    if not outcome.rebuild:
        pulls.write(cursor, key, manifest.batch_id, manifest.extracted_at, outcome.days)
        if not outcome.late:
            changes += origin.changes(cursor, key, manifest.origin)
        schema_changes.write(cursor, key, manifest.batch_id, changes)
    result.schema_changes = schema_changes.count(cursor, key, manifest.batch_id)
    record_batch(cursor, manifest, result, outcome.loaded_at)
    if not outcome.rebuild and not outcome.late:
        _move_checkpoint(cursor, manifest, result)
    return result


def _record_relation(
    cursor: psycopg.Cursor[Any], manifest: Manifest, outcome: Outcome, relation: RelationOutcome
) -> list[FieldChange]:
    """Write name map and statistics of one relation; return what is unusual in its fields."""
    key, child = TableKey(manifest.source, manifest.table), relation.child
    fields, rows = evidence.counted(manifest, child)
    record_columns(cursor, manifest, relation)
    for path, is_gone in relation.vanished.items():
        columns.mark_vanished(cursor, key, child, path, manifest.batch_id if is_gone else None)
    evidence.write_statistics(cursor, manifest, child, fields, rows, relation.rescued, relation.sanitised)
    if outcome.rebuild or outcome.late or _is_of_older_days(cursor, manifest):
        return []
    plan = make_plan(child, columns.of_relation(cursor, key, child), [], {})
    return evidence.unusual(cursor, manifest, plan, fields, rows)


def _is_of_older_days(cursor: psycopg.Cursor[Any], manifest: Manifest) -> bool:
    """Return whether all days of a batch lie before some that are loaded: what differs in them is no change."""
    last = manifest.window.get("to")
    if not isinstance(manifest.scope, AccountDaysScope) or not isinstance(last, str):
        return False
    return batches.holds_later_days(cursor, TableKey(manifest.source, manifest.table), last)


def record_columns(cursor: psycopg.Cursor[Any], manifest: Manifest, relation: RelationOutcome) -> None:
    """Write new and widened columns of a relation into the name map."""
    key = TableKey(manifest.source, manifest.table)
    columns.add(cursor, key, relation.child, relation.new, manifest.batch_id)
    columns.retype(cursor, key, relation.child, relation.retyped)


def record_batch(cursor: psycopg.Cursor[Any], manifest: Manifest, result: LoadResult, loaded_at: datetime) -> None:
    """Note a batch as loaded, or as superseded."""
    batch = Batch(
        batch_id=manifest.batch_id,
        status=result.status,
        mode=manifest.mode,
        scope=manifest.scope.model_dump(by_alias=True),
        rows_landed=manifest.rows,
        bytes=manifest.bytes,
        window_read=manifest.window,
        previous_checkpoint=manifest.previous_checkpoint,
        fingerprint=manifest.fingerprint,
        plan=result.plan,
        extracted_at=manifest.extracted_at,
        loaded_at=loaded_at,
        seconds=result.seconds,
        flow_run_id=manifest.flow_run_id,
        origin=manifest.origin.model_dump() if manifest.origin else None,
        counts=result.counts,
    )
    batches.write(cursor, TableKey(manifest.source, manifest.table), batch)


def _move_checkpoint(cursor: psycopg.Cursor[Any], manifest: Manifest, result: LoadResult) -> None:
    key = TableKey(manifest.source, manifest.table)
    current = stored.read(cursor, key)
    rewound = current.rewound_at if current else None
    reset = resets.find(cursor, key)
    answers = reset is not None and reset.is_answered_by(manifest.batch_id, manifest.previous_checkpoint)
    replaces = reset is not None and reset.replaces
    if (replaces and not answers) or (not replaces and rewound is not None and manifest.extracted_at < rewound):
        result.warnings.append("the checkpoint was set by hand after this batch was read: it stays")
        return
    if answers:
        resets.end(cursor, key, manifest.batch_id)
    stored.write(
        cursor,
        key,
        mode=manifest.mode,
        state=manifest.moved(current.state if current else {}),
        batch_id=manifest.batch_id,
        flow_run_id=manifest.flow_run_id,
    )


# -- rejects --------------------------------------------------------------------------------------------------


def record_landed_rejects(cursor: psycopg.Cursor[Any], landing: Landing, manifest: Manifest) -> None:
    """Write the rejects that extract landed in the place of all rejects of the batch."""
    key = TableKey(manifest.source, manifest.table)
    rejects.forget(cursor, key, [manifest.batch_id])
    for part in manifest.of_kind("rejects"):
        found = (
            NewReject("extract", row["_id"], row["path"], row["reason"], row["document"], row["bytes"])
            for row in landing.read(manifest, part).iter_rows(named=True)
        )
        rejects.write(cursor, key, manifest.batch_id, found)


def _record_rejects(cursor: psycopg.Cursor[Any], landing: Landing, manifest: Manifest, outcome: Outcome) -> None:
    if not outcome.rebuild:
        record_landed_rejects(cursor, landing, manifest)
    key = TableKey(manifest.source, manifest.table)
    found = [*_held(landing, manifest, outcome.held), *_refused(landing, manifest, outcome.refused)]
    if found:
        rejects.write(cursor, key, manifest.batch_id, found)


def _held(landing: Landing, manifest: Manifest, held: dict[str, str]) -> Iterator[NewReject]:
    """Yield the documents that stayed out, with their child rows: nothing else but the landing has them."""
    for flush, part in manifest.row_parts("") if held else ():
        landed = landing.read(manifest, part)
        rows = landed["_id"].is_in([*held]).arg_true().to_list()
        children = _held_children(landing, manifest, held, flush) if rows else {}
        for row in rows:
            yield NewReject(
                "load", landed["_id"][row], None, held[landed["_id"][row]], document_of(landed[row], children)
            )


def _held_children(
    landing: Landing, manifest: Manifest, held: dict[str, str], flush: int
) -> dict[str, dict[tuple[Any, ...], pl.DataFrame]]:
    """Return the child rows of held documents that were landed with them."""
    found = {}
    for child in sorted(manifest.children):
        parts = [landing.read(manifest, part) for number, part in manifest.row_parts(child) if number == flush]
        if parts:
            rows = pl.concat([frame.filter(pl.col("_root_id").is_in([*held])) for frame in parts], how="diagonal")
            found[child] = rows.partition_by("_root_id", as_dict=True)
    return found


def _refused(landing: Landing, manifest: Manifest, refused: list[Refused]) -> Iterator[NewReject]:
    """Yield the rows that the destination refused, as landed."""
    files: dict[str, Part] = {part.file: part for part in manifest.parts}
    frames: dict[str, pl.DataFrame] = {}
    for row in refused:
        if row.file not in frames:
            # One at a time: refused rows come by part.
            frames = {row.file: landing.read(manifest, files[row.file])}
        landed = frames[row.file][row.row]
        yield NewReject("load", landed["_id"][0], row.child or None, row.reason, document_of(landed))


def by_path(counted: Counter[tuple[str, str]] | None) -> Counter[str]:
    """Return by path how many values were counted, whatever their kind."""
    total: Counter[str] = Counter()
    for (path, _), count in (counted or {}).items():
        total[path] += count
    return total
