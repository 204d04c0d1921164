"""Which rows of a complete read differ from bronze, found by keys and hashes alone before anything else is sent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import polars as pl
import psycopg
from psycopg import sql

from tasks.bronze.convert import keys_of
from tasks.bronze.postgres import copying, ddl, merge, stage

COLUMNS = ["_id", "_hash"]
KEYS = "warehouse_keys"
# Above this share sending all is cheaper than sending keys and picking rows.
_MOST_SHARE = 0.5
_NEEDED = "warehouse_needed"
# As Python objects at a time: the numbers themselves are kept in eight bytes each.
_FETCHED_ROWS = 50_000
_TYPES = [("_seq", "bigint"), ("_hash", "uuid"), ("_id", "text")]


@dataclass
class Delta:
    """The rows that have to be staged.

    Attributes:
        keys: Number of distinct keys read.
        repeated: Whether keys came more than once.
        new: Number of keys that bronze does not have.
        rows: By decoder flush the row numbers to stage; None means all rows of all flushes.
        roots: By decoder flush the keys of staged rows, whose child rows are staged with them.
    """

    keys: int
    repeated: bool
    new: int
    rows: dict[int, pl.Series] | None
    roots: dict[int, pl.Series] = field(default_factory=dict)

    def pick(self, flush: int, landed: pl.DataFrame, child: str) -> pl.DataFrame:
        """Return the rows of a landed part that have to be staged."""
        if self.rows is None:
            return landed
        if child:
            roots = self.roots.get(flush)
            return landed.clear() if roots is None else landed.filter(pl.col("_root_id").is_in(roots.implode()))
        chosen = landed[self.rows[flush]] if flush in self.rows else landed.clear()
        self.roots[flush] = chosen["_id"]
        return chosen

    def skips(self, flush: int) -> bool:
        """Return whether nothing of a flush has to be staged: its parts need not even be read."""
        return self.rows is not None and flush not in self.rows


def find(cursor: psycopg.Cursor[Any], name: str, frames: Iterator[tuple[int, pl.DataFrame]]) -> Delta:
    """Send keys and hashes, and compare them with bronze.

    Args:
        cursor: Inside the load's transaction.
        name: The table's relation.
        frames: The landed parts of rows, each with the number of its decoder flush.
    """
    merge.create_stage(cursor, KEYS, _TYPES)
    target = sql.Identifier(KEYS)
    keys = (stage.with_sequence(keys_of(landed), flush << merge.SEQUENCE_BITS, roots=False) for flush, landed in frames)
    copying.copy_frames(cursor, target, keys, _TYPES)
    cursor.execute(sql.SQL("analyze {}").format(target))
    repeated = merge.keep_last(cursor, KEYS) > 0
    cursor.execute(
        sql.SQL(
            "create temporary table {} on commit drop as select k._seq, t._id is null as new from {} k"
            " left join {} t on t._id = k._id"
            " where t._id is null or t._hash is distinct from k._hash or t._deleted_at is not null"
        ).format(sql.Identifier(_NEEDED), target, ddl.relation(name))
    )
    counts = cursor.execute(
        sql.SQL("select (select count(*) from {}), count(*), count(*) filter (where new) from {}").format(
            target, sql.Identifier(_NEEDED)
        )
    ).fetchone()
    distinct, needed, new = counts or (0, 0, 0)
    if needed > distinct * _MOST_SHARE:
        return Delta(distinct, repeated, new, None)
    cursor.execute(sql.SQL("select _seq from {} order by 1").format(sql.Identifier(_NEEDED)))
    chunks = iter(lambda: cursor.fetchmany(_FETCHED_ROWS), [])
    series = [pl.Series("seq", [row[0] for row in chunk], dtype=pl.Int64) for chunk in chunks]
    numbers = pl.concat(series or [pl.Series("seq", [], dtype=pl.Int64)]).to_frame()
    split = numbers.with_columns(
        (pl.col("seq") // (1 << merge.SEQUENCE_BITS)).alias("flush"), pl.col("seq") % (1 << merge.SEQUENCE_BITS)
    )
    return Delta(
        distinct,
        repeated,
        new,
        {key[0]: part["seq"] for key, part in split.partition_by("flush", as_dict=True).items()},
    )
