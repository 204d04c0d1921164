"""Filling relations by COPY: fast when all fits, and down to the single row that Postgres refuses when it does not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import polars as pl
import psycopg
from psycopg import sql

from tasks.bronze.convert import keys_of, rescue_cells
from tasks.bronze.plan import RelationPlan
from tasks.bronze.postgres import copying

Types = Sequence[tuple[str, str]]
_REFUSALS = (psycopg.DataError, psycopg.errors.ProgramLimitExceeded, psycopg.errors.StatementTooComplex)
_MOST_REASON = 500


def copy_rows(
    cursor: psycopg.Cursor[Any],
    target: sql.Composable,
    frames: Iterable[pl.DataFrame],
    types: Types,
    plan: RelationPlan,
    *,
    freeze: bool = False,
) -> None:
    """Copy converted rows. `freeze` is for a relation made in the same subtransaction."""
    fields = {column.name for column in plan.stored}

    def rescue(part: pl.DataFrame, cells: Sequence[tuple[int, str]]) -> pl.DataFrame:
        if own := {name for _, name in cells} - fields:
            raise psycopg.DataError(f"Postgres cannot hold the value of {', '.join(sorted(own))}")
        return rescue_cells(part, plan, cells)

    copying.copy_frames(cursor, target, frames, types, freeze=freeze, rescue=rescue)


def copy_careful(
    cursor: psycopg.Cursor[Any], target: sql.Composable, frame: pl.DataFrame, types: Types, plan: RelationPlan
) -> list[tuple[int, str]]:
    """Copy a frame; what Postgres refuses is halved until the refused rows stand alone.

    Returns:
        (row, reason) of each refused row.
    """
    refused: list[tuple[int, str]] = []
    waiting = [(0, frame)] if frame.height else []
    while waiting:
        offset, part = waiting.pop()
        try:
            with cursor.connection.transaction():
                copy_rows(cursor, target, [part], types, plan)
        except _REFUSALS as error:
            if part.height == 1:
                refused.append((offset, str(error).strip().splitlines()[0][:_MOST_REASON]))
                continue
            half = part.height // 2
            waiting += [(offset + half, part[half:]), (offset, part[:half])]
    return refused


def copy_keys(cursor: psycopg.Cursor[Any], target: sql.Composable, frame: pl.DataFrame) -> None:
    """Copy a part of kind `ids`."""
    copying.copy_frames(cursor, target, [keys_of(frame.select("_id"))], [("_id", "text")])


def with_sequence(frame: pl.DataFrame, base: int, roots: bool) -> pl.DataFrame:
    """Return the frame with `_seq`, and for roots an `_op` even where the batch has none."""
    frame = frame.with_columns(pl.int_range(base, base + frame.height, dtype=pl.Int64).alias("_seq"))
    if roots and "_op" not in frame.columns:
        frame = frame.with_columns(pl.lit(None, pl.String).alias("_op"))
    return frame
