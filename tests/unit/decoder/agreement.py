"""Running the decoders on the same bytes and comparing everything they give."""

from __future__ import annotations

from typing import Any

import polars as pl

from tasks.landing.decoder import Decoded, Decoder, make_decoder, native_available

_Drained = tuple[list[Decoded], list[tuple[int, int, int]]]


def drain(decoder: Decoder, raw: bytes, op: str = "u") -> tuple[list[Decoded], list[tuple[int, int, int]]]:
    """Push all of `raw`, flushing when asked; return the flushes and what was pending at each stop."""
    flushes, stops, offset = [], [], 0
    while True:
        offset = decoder.push(raw, offset, op)
        stops.append((offset, decoder.pending_bytes, decoder.pending_rows))
        flushes.append(decoder.flush())
        if offset >= len(raw):
            return flushes, stops


def plain(frame: pl.DataFrame) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """Return schema and values, with doubles as their bits: NaN equals itself and -0.0 differs from 0.0."""
    values = {}
    for series in frame:
        if series.dtype == pl.Float64:
            values[series.name] = [None if value is None else value.hex() for value in series.to_list()]
        elif isinstance(series.dtype, pl.Datetime):
            values[series.name] = series.to_physical().to_list()
        else:
            values[series.name] = series.to_list()
    return dict(frame.schema), values


def assert_same(raw: bytes, op: str = "u", **options: Any) -> None:
    """Assert that all decoders give the same flushes, offsets and statistics."""
    reference = make_decoder(implementation="reference", **options)
    expected = drain(reference, raw, op)
    for implementation in ("driver", *(["native"] if native_available() else [])):
        decoder = make_decoder(implementation=implementation, **options)  # type: ignore[arg-type]
        _assert_equal(drain(decoder, raw, op), expected)
        assert decoder.stats() == reference.stats()


def _assert_equal(given: _Drained, expected: _Drained) -> None:
    assert given[1] == expected[1]
    for mine, other in zip(given[0], expected[0], strict=True):
        assert list(mine.tables) == list(other.tables)
        for path, frame in mine.tables.items():
            assert frame.columns == other.tables[path].columns
            assert plain(frame) == plain(other.tables[path]), path
        assert plain(mine.rejects) == plain(other.rejects)
