"""A decoder that keeps each document whole beside its columns: the bytes that were read, found again by their hash."""

from __future__ import annotations

import itertools
from typing import Any

import polars as pl
import xxhash

from tasks.landing.decoder import DOCUMENT, Decoded, Decoder
from tasks.landing.decoder import bson_walk as walk

COLUMN = f"{DOCUMENT}|binary"
_LEAST_SIZE = 5


class KeepingDecoder:
    """See `tasks.landing.decoder.Decoder`; rows of whole documents have the column `|document|binary` besides.

    Args:
        decoder: Makes the other columns.
        seed: Its seed of `_hash`.
        max_bytes: Bytes of documents kept at which `push` stops early, as it does when the decoder says so.
    """

    def __init__(self, decoder: Decoder, seed: int, max_bytes: int) -> None:
        self._decoder = decoder
        self._seed = seed
        self._max_bytes = max_bytes
        self._kept: dict[bytes, bytes] = {}
        self._bytes = 0

    @property
    def pending_bytes(self) -> int:
        """See `Decoder`."""
        return self._decoder.pending_bytes + self._bytes

    @property
    def pending_rows(self) -> int:
        """See `Decoder`."""
        return self._decoder.pending_rows

    def push(self, raw: bytes | memoryview, start: int = 0, op: str = "u") -> int:
        """See `Decoder`."""
        if op != "u":
            return self._decoder.push(raw, start, op)
        if self._bytes >= self._max_bytes:
            return start
        ends = self._ends(raw, start)
        some = ends and ends[-1] < len(raw)
        reached = self._decoder.push(memoryview(raw)[: ends[-1]] if some else raw, start)
        for begin, end in itertools.pairwise([start, *ends]):
            if end <= reached:
                document = bytes(raw[begin:end])
                self._kept[xxhash.xxh3_128_digest(document, seed=self._seed)] = document
                self._bytes += len(document)
        return reached

    def push_delete(self, id_document: bytes) -> None:
        """See `Decoder`."""
        self._decoder.push_delete(id_document)

    def flush(self) -> Decoded:
        """See `Decoder`."""
        decoded = self._decoder.flush()
        rows = decoded.tables[""]
        # Rejects have no row, and deletes no hash.
        kept = [self._kept.get(digest) for digest in rows["_hash"]]
        self._kept, self._bytes = {}, 0
        if any(document is not None for document in kept):
            decoded.tables[""] = rows.with_columns(pl.Series(COLUMN, kept, dtype=pl.Binary))
        return decoded

    def stats(self) -> dict[str, Any]:
        """See `Decoder`."""
        stats = self._decoder.stats()
        rows = stats[""]["rows"]
        if rows:
            stats[""]["fields"][DOCUMENT] = {"present": rows, "types": {"binary": rows}, "empty": 0}
        return stats

    def _ends(self, raw: bytes | memoryview, start: int) -> list[int]:
        """Return where the documents from an offset on end, up to the first for which there is no room.

        Behind a length that cannot be right there is none, as the decoder sees it.
        """
        ends: list[int] = []
        at, room = start, self._max_bytes - self._bytes
        while 0 <= at <= len(raw) - _LEAST_SIZE and room > 0:
            size = walk.INT32_FORMAT.unpack_from(raw, at)[0]
            if not _LEAST_SIZE <= size <= len(raw) - at:
                break
            at, room = at + size, room - size
            ends.append(at)
        return ends
