"""Whole numbers that no double represents (2^53 + 1): a field that has them cannot be a column of doubles."""

from __future__ import annotations

import polars as pl

# Up to here every whole number is a double.
_ALL_EXACT = 1 << 53
# Near the end of 64 bits a cast there and back is no proof.
_LARGEST_PROVEN = 1 << 62
_SUFFIX = "|int"


def exact_as_double(source: pl.Expr) -> pl.Expr:
    """Return whether each whole number is represented by a double; null where there is no number."""
    there_and_back = source.cast(pl.Float64).cast(pl.Int64, strict=False)
    return (there_and_back == source) & source.is_between(-_LARGEST_PROVEN, _LARGEST_PROVEN)


def beyond_double(frame: pl.DataFrame) -> dict[str, int]:
    """Return by path how many whole numbers of a landed frame no double represents, where there are any."""
    names = [name for name in frame.columns if name.endswith(_SUFFIX)]
    if not names or frame.is_empty():
        return {}
    least, most = frame.select(pl.col(names).min()).row(0), frame.select(pl.col(names).max()).row(0)
    large = [
        name
        for name, low, high in zip(names, least, most, strict=True)
        if low is not None and (low < -_ALL_EXACT or high > _ALL_EXACT)
    ]
    if not large:
        return {}
    counts = frame.select((~exact_as_double(pl.col(name))).sum().alias(name) for name in large).row(0)
    return {name.removesuffix(_SUFFIX): count for name, count in zip(large, counts, strict=True) if count}
