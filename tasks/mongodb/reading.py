"""One pass over a query: raw batches from the server, decoded, transformed and landed, with memory bounded by bytes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from tasks.landing import BatchWriter, Segment
from tasks.mongodb.decoder import Decoder, make_decoder
from tasks.mongodb.transforms import Transforms
from tasks.overlap import read_ahead
from tasks.sources import Table

# The server cuts batches at 16 MiB whatever is asked. 10,000 documents of a usual size stay within the processor cache
# on both sides: 269 thousand documents a second were drained so, 184 thousand with 50,000 (SecantusDB, 430 bytes each).
BATCH_DOCUMENTS = 10_000
# Share of the memory budget that the decoder may fill before a part is cut: the rest is for the part being
# compressed, the one waiting, two raw batches and the interpreter.
_PART_SHARE = 16
# Small parts stay within the processor's cache between decoding and compressing, and a load ahead begins with the first
# one: 8 MiB landed a tenth faster than 32 MiB, and faster than 4 MiB too.
_PART_LEAST, _PART_MOST = 4 << 20, 8 << 20


@dataclass
class Lander:
    """Decodes raw batches and writes parts; one per segment.

    Attributes:
        writer: Where parts go.
        table: The table's configuration.
        memory_bytes: Memory budget of this reader.
        keep: Narrows each landed frame, such as dropping rows already landed at a cursor's boundary.
        progress: Called with the rows read so far.
    """

    writer: BatchWriter
    table: Table
    memory_bytes: int
    with_op: bool = False
    keep: Callable[[pl.DataFrame], pl.DataFrame] | None = None
    progress: Callable[[int], None] | None = None
    source_bytes: int = 0
    reject_rows: int = 0
    _flushed_rows: int = field(init=False, default=0)
    _part_bytes: int = field(init=False)
    _decoder: Decoder = field(init=False)
    _transforms: Transforms = field(init=False)
    _started: float = field(init=False, default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self._part_bytes = min(max(self.memory_bytes // _PART_SHARE, _PART_LEAST), _PART_MOST)
        self._decoder = make_decoder(
            children=self.table.child_paths,
            seed=self.table.fingerprint(),
            max_bytes=self._part_bytes,
            with_op=self.with_op,
        )
        self._transforms = Transforms(self.table.transforms, self.table.child_paths)

    @property
    def rows_read(self) -> int:
        """Documents decoded so far."""
        return self._flushed_rows + self._decoder.pending_rows

    def push(self, raw: bytes) -> None:
        """Decode one raw batch, cutting parts whenever enough is pending."""
        self.source_bytes += len(raw)
        offset = 0
        while (offset := self._decoder.push(raw, offset)) < len(raw):
            self.flush()

    def push_delete(self, id_document: bytes) -> None:
        """Record that the document with this `_id` is gone."""
        self._decoder.push_delete(id_document)

    def flush(self) -> None:
        """Write all that is pending as parts."""
        self._flushed_rows += self._decoder.pending_rows
        decoded = self._decoder.flush()
        rows = decoded.tables.pop("")
        kept = self.keep(rows) if self.keep else rows
        self.writer.write(self._transforms.apply(kept))
        for path, frame in self._transforms.apply_tables(decoded.tables).items():
            if kept.height < rows.height:
                frame = frame.join(kept.select(_root_id="_id"), on="_root_id", how="semi")
            self.writer.write(frame, kind="child", child=path)
        self.reject_rows += decoded.rejects.height
        self.writer.write(self._transforms.apply_rejects(decoded.rejects), kind="rejects")
        if self.progress:
            self.progress(self.rows_read)

    def write_ids(self, batches: Iterable[bytes]) -> None:
        """Write the complete list of ids from raw `{_id: ...}` batches, in parts cut by bytes; an empty one too."""
        decoder = make_decoder(max_bytes=self._part_bytes)
        for raw in read_ahead(batches):
            self.source_bytes += len(raw)
            offset = 0
            while (offset := decoder.push(raw, offset)) < len(raw):
                self.writer.write(decoder.flush().tables[""].select("_id"), kind="ids")
        self.writer.write(decoder.flush().tables[""].select("_id"), kind="ids")

    def finish(self, state: Callable[[], dict[str, Any]] = dict) -> Segment:
        """Write the rest and the segment's record; `state` is asked once all rows have passed."""
        self.flush()
        statistics: dict[str, Any] = self._transforms.apply_statistics(self._decoder.stats())
        seconds = time.monotonic() - self._started
        return self.writer.finish(statistics, self.source_bytes, seconds, self.reject_rows, state())


class RateLimit:
    """Holds reading to a number of documents a second, averaged over the run."""

    def __init__(self, per_second: int | None) -> None:
        self._per_second = per_second
        self._started = time.monotonic()

    def wait(self, rows_read: int) -> None:
        """Sleep until `rows_read` documents are due."""
        if self._per_second:
            ahead = rows_read / self._per_second - (time.monotonic() - self._started)
            if ahead > 0:
                time.sleep(ahead)


def land_batches(lander: Lander, batches: Iterable[bytes], limit: RateLimit) -> None:
    """Push every raw batch through the decoder into the landing."""
    with closing(read_ahead(batches)) as stream:
        for raw in stream:
            lander.push(raw)
            limit.wait(lander.rows_read)
