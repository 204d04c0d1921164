"""The native decoder (`warehouse_native`), its Arrow tables taken over as Polars frames without a copy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl
import warehouse_native

from tasks.landing.decoder import Decoded


class NativeDecoder:
    """See `tasks.landing.decoder.Decoder` and `make_decoder`."""

    def __init__(
        self,
        *,
        children: Sequence[str] = (),
        max_depth: int = 8,
        seed: int = 0,
        max_bytes: int = 64 << 20,
        with_op: bool = False,
    ) -> None:
        self._decoder = warehouse_native.Decoder(
            children=list(children), max_depth=max_depth, seed=seed, max_bytes=max_bytes, with_op=with_op
        )

    @property
    def pending_bytes(self) -> int:
        """See `Decoder`."""
        return int(self._decoder.pending_bytes)

    @property
    def pending_rows(self) -> int:
        """See `Decoder`."""
        return int(self._decoder.pending_rows)

    def push(self, raw: bytes | memoryview, start: int = 0, op: str = "u") -> int:
        """See `Decoder`."""
        return int(self._decoder.push(raw, start, op))

    def push_delete(self, id_document: bytes) -> None:
        """See `Decoder`."""
        self._decoder.push_delete(id_document)

    def flush(self) -> Decoded:
        """See `Decoder`."""
        tables, rejects = self._decoder.flush()
        return Decoded({path: pl.DataFrame(table) for path, table in tables.items()}, pl.DataFrame(rejects))

    def stats(self) -> dict[str, Any]:
        """See `Decoder`."""
        stats: dict[str, Any] = self._decoder.stats()
        return stats
