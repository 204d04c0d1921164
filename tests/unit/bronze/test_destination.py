"""A destination that is no database, built on the pure parts alone: names, plans, conversion, canonical rows.

It commits rows and batch id together and knows nothing of the control tables, as one on an object store would.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import bson
import pytest
from bson.int64 import Int64
from polars import selectors

from tasks.bronze import canonical
from tasks.bronze.capabilities import POSTGRES, UNBOUNDED, Capabilities
from tasks.bronze.convert import convert
from tasks.bronze.plan import Column, changes_of, make_plan
from tasks.landing.decoder import make_decoder

ROOMY = replace(
    POSTGRES,
    most_name_bytes=200,
    reserved_names=frozenset(),
    most_key_bytes=UNBOUNDED,
    most_row_bytes=UNBOUNDED,
    takes_any_text=True,
    times=(-(1 << 53), 1 << 53),
)
"""Types of Postgres without its limits."""


@dataclass
class Memory:
    """A table in memory: each batch is one new state, which holds the batch's id."""

    capabilities: Capabilities
    schema: list[Column] = field(default_factory=list)
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    batch_id: str = ""
    changes: list[tuple[str, str, str | None]] = field(default_factory=list)

    def load(self, batch_id: str, documents: Sequence[dict[str, Any]]) -> None:
        """Load a batch: the schema's steps, then its rows and its id at once."""
        decoder = make_decoder()
        decoder.push(b"".join(map(bson.encode, documents)))
        frame = decoder.flush().tables[""]
        fields = decoder.stats()[""]["fields"]
        types = {path: statistics["types"] for path, statistics in fields.items()}
        plan = make_plan("", self.schema, frame.columns, types, capabilities=self.capabilities)
        self.changes += [(change.field, change.change, change.new_type) for change in changes_of(plan)]
        # Times as numbers, since Python's own end with the year 9999.
        converted = convert(frame, plan).frame.with_columns(selectors.temporal().to_physical())
        rows = {row["_id"]: row for row in converted.iter_rows(named=True)}
        self.schema = [replace(column, new=False) for column in plan.every]
        self.rows, self.batch_id = {**self.rows, **rows}, batch_id

    def canonical(self) -> dict[str, canonical.Row]:
        """Return the rows in the form that verify compares."""
        stored = [column for column in self.schema if column.stored]
        return {
            key: canonical.of_bronze(stored, [row.get(column.name) for column in stored], row["_rescued"])
            for key, row in self.rows.items()
        }


def landed(documents: Sequence[dict[str, Any]]) -> list[canonical.Row]:
    """Return documents in the form that verify compares."""
    decoder = make_decoder()
    decoder.push(b"".join(map(bson.encode, documents)))
    return list(canonical.of_landed(decoder.flush().tables[""]))


DOCUMENTS = [
    {"_id": 1, "total": 5, "note": "a\x00b", "ctid": True, "tags": ["x\x00"]},
    {"_id": 2, "total": 6, "at": bson.datetime_ms.DatetimeMS(-300_000_000_000_000), "address": {"city": "Lyon"}},
    {"_id": "k" * 5_000, "total": 7},
]
LATER = [{"_id": 1, "total": 0.5, "note": 3}, {"_id": 4, "total": Int64(7)}]


@pytest.mark.parametrize("capabilities", [POSTGRES, replace(POSTGRES, most_columns=2), ROOMY])
def test_no_value_is_lost_whatever_the_limits(capabilities: Capabilities) -> None:
    table = Memory(capabilities)
    table.load("1", DOCUMENTS)
    assert list(table.canonical().values()) == landed(DOCUMENTS)
    table.load("2", LATER)
    assert [table.canonical()[key] for key in ("1", "4")] == landed(LATER)
    assert (len(table.rows), table.batch_id) == (4, "2")


def test_limits_decide_what_has_a_column_of_its_own() -> None:
    narrow, roomy = Memory(POSTGRES), Memory(ROOMY)
    for table in (narrow, roomy):
        table.load("1", DOCUMENTS)
    assert [column.name for column in narrow.schema] == ["total", "note", "ctid_", "tags", "at", "address__city"]
    assert [column.name for column in roomy.schema] == ["total", "note", "ctid", "tags", "at", "address__city"]
    assert [row["_rescued"] is None for row in roomy.rows.values()] == [True, True, True]
    assert [row["_rescued"] is None for row in narrow.rows.values()] == [False, False, False]
    assert "k" * 5_000 in roomy.rows and "k" * 5_000 not in narrow.rows
    assert roomy.rows["1"]["note"] == "a\x00b" and narrow.rows["1"]["note"] == "ab"


def test_later_batches_widen_what_they_need() -> None:
    table = Memory(ROOMY)
    table.load("1", DOCUMENTS)
    table.changes.clear()
    table.load("2", LATER)
    assert table.changes == [("total", "widened", "double precision")]
