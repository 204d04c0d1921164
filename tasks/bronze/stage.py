"""Filling relations by COPY: fast when all fits, and down to the single row that Postgres refuses when it does not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import MappingProxyType
from typing import Any

import polars as pl
import psycopg
from psycopg import sql

from tasks.bronze import copying
from tasks.bronze.convert import keys_of, rescue_cells
from tasks.bronze.plan import RelationPlan
from tasks.landing import Manifest
from tasks.landing.kinds import ChildRows, document_of
from tasks.ops import TableKey, rejects
from tasks.ops.rejects import NewReject

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


def normal_keys(keys: pl.Series) -> list[str]:
    """Return keys as bronze writes them."""
    return [str(key) for key in keys_of(keys.alias("_id").to_frame())["_id"]]


def with_sequence(frame: pl.DataFrame, base: int, roots: bool) -> pl.DataFrame:
    """Return the frame with `_seq`, and for roots an `_op` even where the batch has none."""
    frame = frame.with_columns(pl.int_range(base, base + frame.height, dtype=pl.Int64).alias("_seq"))
    if roots and "_op" not in frame.columns:
        frame = frame.with_columns(pl.lit(None, pl.String).alias("_op"))
    return frame


def write_rejects(cursor: psycopg.Cursor[Any], manifest: Manifest, frame: pl.DataFrame) -> None:
    """Write landed rejects into `ops.rejects`."""
    found = (
        NewReject("extract", row["_id"], row["path"], row["reason"], row["document"], row["bytes"])
        for row in frame.iter_rows(named=True)
    )
    rejects.write(cursor, TableKey(manifest.source, manifest.table), manifest.batch_id, found)


def write_refused(
    cursor: psycopg.Cursor[Any],
    manifest: Manifest,
    child: str,
    landed: pl.DataFrame,
    refused: Sequence[tuple[int, str]],
    children: ChildRows = MappingProxyType({}),
) -> None:
    """Write rows that are not loaded, and child rows that are not either, with all landed values as extended JSON."""
    found = (
        NewReject("load", landed["_id"][index], child or None, reason, document_of(landed[index], children))
        for index, reason in refused
    )
    rejects.write(cursor, TableKey(manifest.source, manifest.table), manifest.batch_id, found)
