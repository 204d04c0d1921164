"""The native module, where it is installed: the encoder for COPY, and the search for NULs."""

from __future__ import annotations

from typing import Any

import polars as pl


def _module() -> Any:
    try:
        import warehouse_native
    except ImportError:
        return None
    return warehouse_native


MODULE = _module()
"""The module, or None where it is not installed."""


def is_installed() -> bool:
    """Return whether rows are encoded natively."""
    return MODULE is not None


def columns_with_nul(frame: pl.DataFrame, texts: list[str], jsons: list[str]) -> set[str]:
    """Return those of a frame's columns in which NULs have to be looked for: all, where the native search is missing.

    Args:
        frame: Any.
        texts: Columns of plain texts.
        jsons: Columns of JSON, in which a NUL is an escape.
    """
    return {*texts, *jsons} if MODULE is None else set(MODULE.columns_with_nul(frame, texts, jsons))
