"""What a destination can hold: all that names, plans and conversion know of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tasks.landing.kinds import KINDS, ColumnType

UNBOUNDED = (1 << 31) - 1
"""A limit that nothing meets."""


@dataclass(frozen=True)
class Capabilities:
    """The limits of one destination; what is beyond them is kept in `_rescued`.

    Attributes:
        types: By kind the type of its columns.
        most_columns: Columns of one relation.
        most_name_bytes: Bytes of a name.
        reserved_names: Names of columns that it keeps for itself.
        most_key_bytes: Bytes of a key, which it has to index.
        most_row_bytes: Bytes of a row's columns, where a long value counts as the pointer to it.
        pointer_bytes: Bytes of such a pointer.
        takes_any_text: Whether it holds texts with NUL, and JSON as it is written; else both are looked through.
        times: First and last millisecond since 1970 that its times can tell.
        days: First and last day since 1970 that its days can tell.
        shares_ops_transaction: Whether what is written is committed by the transaction of the control tables.
        tries_references: Whether it compares the rows of a batch with other tables.
    """

    types: Mapping[str, ColumnType]
    most_columns: int
    most_name_bytes: int
    reserved_names: frozenset[str]
    most_key_bytes: int
    most_row_bytes: int
    pointer_bytes: int
    takes_any_text: bool
    times: tuple[int, int]
    days: tuple[int, int]
    shares_ops_transaction: bool
    tries_references: bool


POSTGRES = Capabilities(
    types={name: kind.columns["postgres"] for name, kind in KINDS.items()},
    # It allows 1,600 columns, dropped ones included; the rest is left for our own and for people's.
    most_columns=1_400,
    most_name_bytes=63,
    reserved_names=frozenset(("ctid", "xmin", "xmax", "cmin", "cmax", "tableoid", "oid")),
    # A B-tree entry holds about 2,700 bytes.
    most_key_bytes=2_000,
    # A row has to fit a page of 8,160 bytes even with every long value moved out of line, our own columns included.
    most_row_bytes=7_400,
    pointer_bytes=24,
    takes_any_text=False,
    # From 4714-11-24 BC; above, whole microseconds in 64 bits (292277) end first.
    times=(-210_866_803_200_000, 9_223_372_036_854_775),
    days=(-2_440_588, 2_145_042_905),
    shares_ops_transaction=True,
    tries_references=True,
)
