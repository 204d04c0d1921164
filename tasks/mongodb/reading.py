"""One pass over a query: raw batches from the server into the landing, no faster than the source allows."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import closing

from tasks.landing.decoder import Decoder, make_decoder
from tasks.landing.lander import Lander
from tasks.mongodb.config import MongoTable
from tasks.overlap import read_ahead

# The server cuts batches at 16 MiB whatever is asked. 10,000 documents of a usual size stay within the processor cache
# on both sides: 269 thousand documents a second were drained so, 184 thousand with 50,000 (SecantusDB, 430 bytes each).
BATCH_DOCUMENTS = 10_000


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


def decoder_of(table: MongoTable, max_bytes: int = 64 << 20) -> Decoder:
    """Return a decoder that gives a few documents the shape in which the table lands."""
    return make_decoder(
        children=table.child_paths, seed=table.fingerprint(), max_bytes=max_bytes, documents=table.document
    )


def land_batches(lander: Lander, batches: Iterable[bytes], limit: RateLimit) -> None:
    """Push every raw batch through the decoder into the landing."""
    with closing(read_ahead(batches)) as stream:
        for raw in stream:
            lander.push(raw)
            limit.wait(lander.rows_read)
