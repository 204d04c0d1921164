"""Key texts: `_id` as every table of the warehouse writes it."""

from __future__ import annotations

import polars as pl

from tasks.landing.decoder import make_decoder


def key_texts(raw: bytes) -> pl.Series:
    """Return the key text of each BSON document `{_id: ...}`, by the decoder itself, so that there is one rule."""
    decoder = make_decoder()
    parts = []
    offset = 0
    while offset < len(raw):
        offset = decoder.push(raw, offset)
        parts.append(decoder.flush().tables[""]["_id"])
    return pl.concat(parts) if parts else pl.Series("_id", [], dtype=pl.String)
