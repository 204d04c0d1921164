"""The one writer of landings: documents, ready rows and rejects become the parts of a segment, in bounded memory.

Whatever the source, a document takes the same way: decoded, given the configured types, transformed, tried by the
table's rules, written. Readers of a source only say what comes next.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from tasks.landing.decoder import Decoder, make_decoder
from tasks.landing.kinds import KINDS
from tasks.landing.manifest import Segment
from tasks.landing.rules import Rules
from tasks.landing.seen import Seen
from tasks.landing.store import BatchWriter
from tasks.landing.transforms import Transforms
from tasks.landing.typed import TableTypes
from tasks.sources import Table
from tasks.sources.spelling import Spelling

# Share of the memory budget that the decoder may fill before a part is cut: the rest is for the part being
# compressed, the one waiting, two raw batches and the interpreter.
_PART_SHARE = 16
# Small parts stay within the processor's cache between decoding and compressing, and a load ahead begins with the first
# one: 8 MiB landed a tenth faster than 32 MiB, and faster than 4 MiB too.
_PART_LEAST, _PART_MOST = 4 << 20, 8 << 20
# Documents that come one by one are decoded together once there are so many bytes of them.
_PUSH_BYTES = 1 << 20
_PENDING_REJECTS = 10_000
_REJECT_SCHEMA = {
    "_id": pl.String(),
    "reason": pl.String(),
    "path": pl.String(),
    "document": pl.String(),
    "bytes": pl.Binary(),
}


@dataclass
class Lander:
    """Writes the parts of one segment.

    Attributes:
        writer: Where parts go.
        table: The table's configuration.
        memory_bytes: Memory budget of this reader.
        with_op: Whether rows tell updates from deletes.
        documents: Whether each document is kept whole beside its columns.
        types: By path, the kind that values are to have by their source; the table's own types come first.
        spellings: By path how its texts spell values of its type, where that is not the type's own way.
        keep: Narrows each landed frame, such as dropping rows already landed at a cursor's boundary.
        progress: Called with the rows read so far.
        source_bytes: Bytes read from the source.
        reject_rows: Documents rejected.
        held_rows: Those of them that are whole and break a rule.
    """

    writer: BatchWriter
    table: Table
    memory_bytes: int
    with_op: bool = False
    documents: bool = False
    types: dict[str, str] = field(default_factory=dict)
    spellings: dict[str, Spelling] = field(default_factory=dict)
    keep: Callable[[pl.DataFrame], pl.DataFrame] | None = None
    progress: Callable[[int], None] | None = None
    source_bytes: int = 0
    reject_rows: int = 0
    held_rows: int = 0
    _flushed_rows: int = field(init=False, default=0)
    _added: bytearray = field(init=False, default_factory=bytearray)
    _rejects: list[dict[str, Any]] = field(init=False, default_factory=list)
    _frame_fields: dict[str, Any] = field(init=False, default_factory=dict)
    _frame_rows: int = field(init=False, default=0)
    _part_bytes: int = field(init=False)
    _decoder: Decoder = field(init=False)
    _types: TableTypes = field(init=False)
    _transforms: Transforms = field(init=False)
    _rules: Rules = field(init=False)
    _seen: Seen = field(init=False, default_factory=Seen)
    _started: float = field(init=False, default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self._part_bytes = min(max(self.memory_bytes // _PART_SHARE, _PART_LEAST), _PART_MOST)
        self._decoder = make_decoder(
            children=self.table.child_paths,
            seed=self.table.fingerprint(),
            max_bytes=self._part_bytes,
            with_op=self.with_op,
            documents=self.documents,
        )
        self._types = TableTypes(self.table, self.types, self.spellings)
        self._transforms = Transforms(self.table.transforms, self.table.child_paths)
        self._rules = Rules(self.table.rules, self.table.child_paths)

    @property
    def rows_read(self) -> int:
        """Rows decoded so far."""
        return self._flushed_rows + self._decoder.pending_rows

    # -- what comes in ------------------------------------------------------------------------------------------

    def push(self, raw: bytes) -> None:
        """Decode a raw batch of BSON documents, and count its bytes as read."""
        self.source_bytes += len(raw)
        self._decode(raw)

    def add(self, document: bytes) -> None:
        """Take one BSON document that the reader made; what it was read from is the reader's to count."""
        self._added += document
        if len(self._added) >= _PUSH_BYTES:
            self._decode_added()

    def push_delete(self, id_document: bytes) -> None:
        """Record that the document with this `_id` is gone."""
        self._decoder.push_delete(id_document)

    def push_frame(self, frame: pl.DataFrame) -> None:
        """Write rows that are landed columns already: `_id`, `_hash`, `_rescued` and columns `path|kind`."""
        self._count(frame)
        self._flushed_rows += frame.height
        self._land({"": self._transforms.apply(self._types.apply_tables({"": frame})[""])})
        self._tell()

    def reject(self, reason: str, raw: bytes, path: str | None = None) -> None:
        """Record what cannot be a row.

        Args:
            reason: Why, and where it stood.
            raw: Its bytes.
            path: The field to blame, where it is one.
        """
        self._rejects.append({"_id": None, "reason": reason, "path": path, "document": None, "bytes": raw})
        self.reject_rows += 1
        if len(self._rejects) >= _PENDING_REJECTS:
            self._write_rejects()

    def write_ids(self, batches: Iterable[bytes]) -> None:
        """Write the complete list of ids from raw `{_id: ...}` batches, in parts cut by bytes; an empty one too."""
        decoder = make_decoder(max_bytes=self._part_bytes)
        for raw in batches:
            self.source_bytes += len(raw)
            offset = 0
            while (offset := decoder.push(raw, offset)) < len(raw):
                self.writer.write(decoder.flush().tables[""].select("_id"), kind="ids")
        self.writer.write(decoder.flush().tables[""].select("_id"), kind="ids")

    # -- what goes out ------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Write all that is pending as parts."""
        self._decode_added()
        self._cut()

    def finish(self, state: Callable[[], dict[str, Any]] = dict) -> Segment:
        """Write the rest and the segment's record; `state` is asked once all rows have passed."""
        self.flush()
        self._write_rejects()
        seconds = time.monotonic() - self._started
        return self.writer.finish(
            self._statistics(),
            self.source_bytes,
            seconds,
            self.reject_rows,
            state(),
            self._rules.warned_rows,
            self._rules.warned,
        )

    def _decode_added(self) -> None:
        raw, self._added = bytes(self._added), bytearray()
        self._decode(raw)

    def _decode(self, raw: bytes) -> None:
        """Decode documents, cutting parts whenever enough is pending."""
        offset = 0
        while offset < len(raw) and (offset := self._decoder.push(raw, offset)) < len(raw):
            self._cut()

    def _cut(self) -> None:
        self._flushed_rows += self._decoder.pending_rows
        decoded = self._decoder.flush()
        rows = decoded.tables.pop("")
        kept = self.keep(rows) if self.keep else rows
        typed = self._types.apply_tables({"": kept, **decoded.tables})
        frames = {"": self._transforms.apply(typed.pop(""))}
        for path, frame in self._transforms.apply_tables(typed).items():
            if kept.height < rows.height:
                frame = frame.join(kept.select(_root_id="_id"), on="_root_id", how="semi")
            frames[path] = frame
        self._land(frames)
        self.reject_rows += decoded.rejects.height
        self.writer.write(self._transforms.apply_rejects(decoded.rejects), kind="rejects")
        self._tell()

    def _land(self, frames: dict[str, pl.DataFrame]) -> None:
        """Write frames by child path, those documents apart that break a rule."""
        found = self._rules.sort(frames)
        for path, frame in found.kept.items():
            self._seen.add(path, frame)
            self.writer.write(frame, kind="child" if path else "rows", child=path)
        for path, frame in found.held.items():
            self.writer.write(frame, kind="held", child=path)
        self.reject_rows += found.rejects.height
        self.held_rows += found.rejects.height
        self.writer.write(found.rejects, kind="rejects")

    def _write_rejects(self) -> None:
        frame = pl.DataFrame(self._rejects, schema=_REJECT_SCHEMA)
        self._rejects = []
        self.writer.write(self._transforms.apply_rejects(frame), kind="rejects")

    def _tell(self) -> None:
        if self.progress:
            self.progress(self.rows_read)

    # -- statistics ---------------------------------------------------------------------------------------------

    def _count(self, frame: pl.DataFrame) -> None:
        """Count presence, types and empty values of a ready frame."""
        self._frame_rows += frame.height
        for name in frame.columns:
            path, bar, kind = name.rpartition("|")
            if not bar:
                continue
            nulls = frame[name].null_count()
            types = {KINDS[kind].statistics: frame.height - nulls} | ({"null": nulls} if nulls else {})
            empty = int((frame[name] == "").sum()) if kind == "string" else 0
            _add(self._frame_fields, path, {"present": frame.height, "types": types, "empty": empty})

    def _statistics(self) -> dict[str, Any]:
        """Return what was read by child path, `""` for the rows, as it is after types and transforms."""
        statistics = self._decoder.stats()
        main = statistics.get("", {"rows": 0, "fields": {}})
        fields = dict(main["fields"])
        for path, counted in self._frame_fields.items():
            _add(fields, path, counted)
        statistics[""] = {**main, "rows": main["rows"] + self._frame_rows, "fields": fields}
        return self._seen.add_to(self._transforms.apply_statistics(self._types.statistics(statistics)))


def _add(fields: dict[str, Any], path: str, counted: dict[str, Any]) -> None:
    """Add a field's counts to those known of its path."""
    known = fields.get(path, {"present": 0, "types": {}, "empty": 0})
    types = dict(known["types"])
    for name, count in counted["types"].items():
        types[name] = types.get(name, 0) + count
    fields[path] = {
        "present": known["present"] + counted["present"],
        "types": types,
        "empty": known["empty"] + counted["empty"],
    }
