"""Extraction of a table made of files: what is new or changed since the checkpoint lands as one batch."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import bson
import polars as pl
import xxhash

from tasks.errors import MissingCollection
from tasks.extract import ExtractContext, ExtractMetrics, ExtractResult
from tasks.landing import BatchWriter, Segment, new_batch_id
from tasks.landing.cast import readable
from tasks.landing.keys import key_texts
from tasks.landing.lander import Lander
from tasks.landing.typed import decimal_text
from tasks.marketing.files import columnar
from tasks.marketing.files.config import FilesRef, FilesTable
from tasks.marketing.files.folder import Folder, FoundFile
from tasks.marketing.files.parts import Parts, opened
from tasks.marketing.files.records import FileProblem, Record

_PROBLEM_BYTES = 4_096
MOST_KEYS = 1_000_000
"""Keys of one file that are remembered to find repeated ones: some 80 bytes each."""


class Days(NamedTuple):
    """First and last day (ISO) that a file holds, both included; empty texts when it holds none."""

    first: str = ""
    last: str = ""

    def joined(self, other: Days) -> Days:
        """Return the range over both."""
        if not self.first or not other.first:
            return self if self.first else other
        return Days(min(self.first, other.first), max(self.last, other.last))

    def meets(self, other: Days) -> bool:
        """Tell whether the ranges share a day."""
        return bool(self.first and other.first) and self.first <= other.last and other.first <= self.last


class _Read(NamedTuple):
    """A file that was read: as it was when it was opened, the days that it holds, rows taken and rejected."""

    file: FoundFile
    days: Days
    taken: int
    rejected: int
    refused: bool


@dataclass(frozen=True)
class _Known:
    """The checkpoint's state: which files were read, in which shape, and which days they held."""

    fingerprints: dict[str, str]
    days: dict[str, Days]

    @classmethod
    def read(cls, state: dict[str, Any], shape: str) -> _Known:
        """Read the state; one of another table configuration counts for nothing, so that all is read again."""
        files = state.get("files", {}) if state.get("shape") == shape else {}
        return cls(
            {name: entry[0] for name, entry in files.items()}, {name: Days(*entry[1:]) for name, entry in files.items()}
        )

    def state(self, shape: str) -> dict[str, Any]:
        """Return the state as the checkpoint keeps it."""
        return {
            "shape": shape,
            "files": {name: [tag, *self.days[name]] for name, tag in sorted(self.fingerprints.items())},
        }


def extract_table(ref: FilesRef, context: ExtractContext) -> ExtractResult:
    """Read the files that are new or changed and land their rows.

    A changed file is read whole. With `partition`, its days replace those of the warehouse, together with every other
    file that holds some of them; else its rows are merged by key. A file that has gone changes nothing. One that is
    refused is tried again each time, so that no run is all well before it is mended.

    Raises:
        MissingCollection: No file has ever matched the pattern.
        SourceError: Files cannot be listed or read; nothing was landed.
        LandingError: The landing could not be written.
    """
    table, source = ref.table, ref.source
    started = time.monotonic()
    extracted_at = datetime.now(UTC)
    shape = f"{table.fingerprint():016x}"
    known = _Known.read(context.state, shape)
    folder = Folder(source.path)
    found = folder.files(table.pattern)
    if not found and not known.fingerprints:
        raise MissingCollection(
            "no file matches the pattern", f"{source.path}/{table.pattern}", "correct `pattern` or `path`"
        )
    changed = [file for file in found if known.fingerprints.get(file.name) != file.fingerprint]
    if not changed:
        return ExtractResult(None, ExtractMetrics(seconds=round(time.monotonic() - started, 3)))
    chosen, gap = _with_neighbours(folder, table, found, changed, known)
    batch_id = new_batch_id(extracted_at)
    with context.landing.writer(ref.source_name, ref.table_name, batch_id) as writer:
        reader = _Reader(table, context, writer)
        read = [reader.read(folder, file.name) for file in sorted(chosen, key=lambda file: (file.modified, file.name))]
        segment = reader.finish()
    warnings = reader.warnings
    accepted = [one for one in read if not one.refused]
    days = _span(accepted, known)
    blocked = "files of these days are no longer there" if gap else _blocked(read, segment, days, known)
    for one in accepted:
        known.fingerprints[one.file.name], known.days[one.file.name] = one.file.fingerprint, one.days
    replaces = table.partition is not None and bool(days.first) and not blocked
    if table.partition and days.first and blocked:
        warnings.append(f"{blocked}: the days were merged by key and nothing was deleted")
    manifest = context.landing.commit(
        ref.source_name,
        ref.table_name,
        batch_id,
        [segment],
        mode="file",
        scope=_scope(table, days) if replaces else {"type": "upsert"},
        window={"from": days.first or None, "to": days.last or None, "files": [one.file.name for one in read][:100]},
        checkpoint=known.state(shape),
        previous_checkpoint=context.state,
        extracted_at=extracted_at,
        fingerprint=shape,
        flow_run_id=context.flow_run_id,
    )
    refused = tuple(one.file.name for one in read if one.refused)
    return ExtractResult(manifest, ExtractMetrics.of([manifest]), tuple(warnings), refused)


def _scope(table: FilesTable, days: Days) -> dict[str, str]:
    return {"type": "partition", "field": table.partition or "", "from": days.first, "to": days.last}


def _span(read: list[_Read], known: _Known) -> Days:
    """Return the days that the files hold now or held before: what they no longer hold is to be deleted."""
    span = Days()
    for one in read:
        span = span.joined(one.days).joined(known.days.get(one.file.name, Days()))
    return span


def _blocked(read: list[_Read], segment: Segment, days: Days, known: _Known) -> str:
    """Return why days may not be replaced, for rows of theirs are not in this batch; empty when they may."""
    refused = [one for one in read if one.refused]
    # Rows that break a rule have their key, by which what they replace is kept.
    if segment.reject_rows - segment.held_rows > sum(one.rejected for one in refused):
        return "rows were rejected"
    # Of a file that was never read nothing is in the warehouse that could be deleted.
    if any(one.taken or known.days.get(one.file.name, Days()).meets(days) for one in refused):
        return "a file that holds some of these days was refused"
    return ""


def _with_neighbours(
    folder: Folder, table: FilesTable, found: list[FoundFile], changed: list[FoundFile], known: _Known
) -> tuple[list[FoundFile], bool]:
    """Return the files to read so that their days can be replaced, and whether days of a lost file are among them.

    The days from the first to the last are replaced as one range, so every file with a day in it must be read.
    """
    names = {file.name for file in changed}
    others = [file for file in found if file.name not in names]
    gone = [days for name, days in known.days.items() if name not in names | {file.name for file in others}]
    if table.partition is None or not (others or gone):
        return changed, False
    span = Days()
    for file in changed:
        span = span.joined(_days_of(folder, table, file.name)).joined(known.days.get(file.name, Days()))
    chosen = list(changed)
    while near := [file for file in others if known.days[file.name].meets(span)]:
        chosen += near
        others = [file for file in others if file not in near]
        for file in near:
            span = span.joined(known.days[file.name])
    return chosen, any(days.meets(span) for days in gone)


def _days_of(folder: Folder, table: FilesTable, name: str) -> Days:
    """Return the days that a file holds without landing it."""
    assert table.partition is not None  # noqa: S101  narrows the type
    days = Days()
    try:
        if table.format == "parquet":
            with folder.local(name) as (_, path):
                for frame in columnar.parquet_frames(path, table.key):
                    days = days.joined(_frame_days(columnar.landed(frame), table.partition))
        else:
            with opened(folder, table, name) as (_, parts):
                for _, records in parts:
                    for record in records:
                        days = days.joined(_record_days(record, table))
    except FileProblem:
        return Days()
    return days


def _record_days(record: Record, table: FilesTable) -> Days:
    partition = table.partition or ""
    value = (record.document or {}).get(partition)
    spelt = table.spelling(partition).plain(value, "day") if isinstance(value, str) else None
    day = iso_day(spelt) if spelt else ""
    return Days(day, day)


@lru_cache(maxsize=4_096)
def iso_day(text: str) -> str:
    """Return the day that a text begins with (`2026-11-23...` or `20261123`) in ISO form, "" when there is none."""
    try:
        return datetime.fromisoformat(text.strip()[:10]).date().isoformat()
    except ValueError:
        return ""


def _frame_days(frame: pl.DataFrame, partition: str) -> Days:
    for kind in ("day", "micros", "date"):
        if f"{partition}|{kind}" in frame.columns:
            # Outside of the years 1 to 9999 no day is replaced: such a row is merged by its key.
            days = readable(frame[f"{partition}|{kind}"], kind).drop_nulls().cast(pl.Date)
            return Days(str(days.min()), str(days.max())) if len(days) else Days()
    if f"{partition}|string" in frame.columns:
        texts = [day for text in frame[f"{partition}|string"].drop_nulls() if (day := iso_day(text))]
        return Days(min(texts), max(texts)) if texts else Days()
    return Days()


@dataclass
class _Reader:
    """Reads files into the parts of one batch."""

    table: FilesTable
    context: ExtractContext
    writer: BatchWriter
    warnings: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._seed = self.table.fingerprint()
        self._left_out: Counter[str] = Counter()
        self._lander = Lander(
            self.writer,
            self.table,
            self.context.memory_bytes,
            spellings=self.table.spellings,
            progress=self.context.progress,
        )
        self._keys: set[bytes] = set()
        self._taken = self._rejected = 0

    def read(self, folder: Folder, name: str) -> _Read:
        """Read one file."""
        self._keys.clear()
        self._taken = self._rejected = 0
        days, problem = Days(), ""
        reading = folder.local(name) if self.table.format == "parquet" else opened(folder, self.table, name)
        with reading as (file, content):
            self._lander.source_bytes += file.size
            try:
                days = self._read_columns(file, content) if isinstance(content, Path) else self._read_parts(content)
            except FileProblem as error:
                problem = str(error)
        if self._rejected and not self._taken and not problem:
            problem = f"none of its {self._rejected:,} row(s) could be read"
        if problem:
            self.warnings.append(f"{name}: {problem}")
            beginning = next(folder.open(name)[1](), b"")[:_PROBLEM_BYTES]
            self._reject(f"{name}: {problem}", beginning)
        elif len(self._keys) >= MOST_KEYS:
            self.warnings.append(f"{name}: repeated keys were looked for in its first {MOST_KEYS:,} rows only")
        return _Read(file, days, self._taken, self._rejected, bool(problem))

    def _reject(self, reason: str, raw: bytes, path: str | None = None) -> None:
        self._rejected += 1
        self._lander.reject(reason, raw, path)

    def finish(self) -> Segment:
        """Write what is pending, and the segment's record."""
        if self._left_out:
            told = ", ".join(f"{count:,} {what}" for what, count in self._left_out.items())
            self.warnings.append(f"left out, as sources.yaml wants it: {told}")
        return self._lander.finish()

    # -- records ------------------------------------------------------------------------------------------------

    def _read_parts(self, parts: Parts) -> Days:
        days = Days()
        for name, records in parts:
            # As in a file of its own, of a key in several members the last one counts.
            self._keys.clear()
            for record in records:
                if record.left_out:
                    self._left_out[record.left_out] += 1
                elif self._take(f"{name}, line {record.line}", record) and self.table.partition:
                    days = days.joined(_record_days(record, self.table))
            if self.table.child_paths:
                # Of a key in several files the last one's elements count, and loading tells them apart by their flush.
                self._lander.flush()
        return days

    def _take(self, where: str, record: Record) -> bool:
        """Encode one record; False when it was rejected."""
        if record.document is None:
            self._reject(f"{where}: {record.reason}", record.raw)
            return False
        values = [self._key_value(name, record.document.get(name)) for name in self.table.key]
        if None in values:
            name = self.table.key[values.index(None)]
            self._reject(f"{where}: the key {name} is empty", record.raw, name)
            return False
        key = values[0] if len(values) == 1 else values
        try:
            encoded = bson.encode({"_id": key, **{k: v for k, v in record.document.items() if k != "_id"}})
        except (bson.errors.BSONError, OverflowError, UnicodeError, ValueError) as error:
            self._reject(f"{where}: {error}", record.raw)
            return False
        if self._seen(bson.encode({"_id": key})):
            self._reject(f"{where}: another row of this file has the same key", record.raw)
            return False
        self._lander.add(encoded)
        self._taken += 1
        return True

    def _key_value(self, name: str, value: Any) -> Any:
        kind = self.table.types.get(name)
        if isinstance(value, str) and kind:
            value = self.table.spelling(name).plain(value, kind) or value
        return _key_value(value, kind)

    def _seen(self, key: bytes) -> bool:
        before = len(self._keys)
        if before >= MOST_KEYS:
            return False
        digest = xxhash.xxh3_128_digest(key)
        self._keys.add(digest)
        return len(self._keys) == before

    # -- Parquet ------------------------------------------------------------------------------------------------

    def _read_columns(self, file: FoundFile, path: Path) -> Days:
        days = Days()
        line = 0
        for frame in columnar.parquet_frames(path, self.table.key):
            landed = self._with_keys(file, frame, columnar.landed(frame), line)
            line += frame.height
            if self.table.partition:
                days = days.joined(_frame_days(landed, self.table.partition))
            self._taken += landed.height
            self._lander.push_frame(landed)
        return days

    def _with_keys(self, file: FoundFile, frame: pl.DataFrame, landed: pl.DataFrame, line: int) -> pl.DataFrame:
        """Return the landed frame with `_id` and `_hash`, without the rows that have no key or a repeated one."""
        keys: list[bytes] = []
        keep: list[bool] = []
        keyed = (columnar.python_values(frame[name]) for name in self.table.key)
        for number, row in enumerate(zip(*keyed, strict=True)):
            values = [_native(value) for value in row]
            key = values[0] if len(values) == 1 else values
            reason = "the key is empty" if None in values else ""
            encoded = b"" if reason else bson.encode({"_id": key})
            if not reason and self._seen(encoded):
                reason = "another row of this file has the same key"
            if reason:
                where = f"{file.name}, row {line + number + 1}"
                told = {one.name: columnar.python_values(one)[0] for one in frame[number].get_columns()}
                self._reject(f"{where}: {reason}", repr(told).encode())
            else:
                keys.append(encoded)
            keep.append(not reason)
        kept = landed.filter(pl.Series(keep, dtype=pl.Boolean)) if landed.width else landed
        columns = [name for name in kept.columns if not name.startswith("_id|")]
        meta = [key_texts(b"".join(keys)), columnar.hashes(kept, self._seed)]
        return pl.DataFrame(meta).hstack(kept.select(columns)).with_columns(pl.lit(None, pl.String).alias("_rescued"))


def _key_value(value: Any, kind: str | None) -> Any:
    """Return a key's value in its configured type, so that 5 from a CSV file and 5 from JSON are one key."""
    if not isinstance(value, str):
        return value
    if value == "":
        return None
    if kind == "int" and value.strip().lstrip("+-").isdecimal() and abs(int(value)) < 1 << 63:
        return int(value)
    if kind == "decimal" and (canonical := decimal_text(value)) is not None:
        return canonical
    if kind == "day" and (day := iso_day(value)) and len(value.strip()) in (8, 10):
        return day
    return value


def _native(value: Any) -> Any:
    """Return a Parquet value as a key's value."""
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
        return str(value)
    if value is None or isinstance(value, str | int | float | bytes | bool):
        return value
    return str(value)
