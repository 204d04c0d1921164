"""The same loading into a destination that is no database and commits apart from the control tables.

Killed between any two steps, the next loads bring it to the state, and the control tables to the rows, of loads that
were never interrupted.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import bson
import pytest
from bson.int64 import Int64

from tasks import database
from tasks.bronze import canonical
from tasks.bronze.capabilities import Capabilities
from tasks.bronze.outcome import LoadResult
from tasks.bronze.reset import begin_reset
from tasks.bronze.verify import Verified, verify
from tasks.landing import Manifest
from tasks.landing.decoder import make_decoder
from tasks.mongodb.config import MongoSource, MongoTable
from tasks.ops import TableKey, columns, resets, schema_changes
from tasks.settings import Settings
from tasks.sources import TableRef
from tests.fixtures.bronze import Warehouse
from tests.fixtures.destination import ROOMY, SEPARATE, Killed, Memory, Store

SNAPSHOT = {"type": "snapshot"}
TABLE = MongoTable.model_validate(
    {"arrays": {"items": "table"}, "on_drift": {"fields": {"refused": {"new": "freeze"}}}}
)
UNREADABLE = b"\x0c\x00\x00\x00\x7ea\x00\x00\x00\x00\x00\x00"


class Separate:
    """A table whose rows are in memory, and whose control tables are in Postgres."""

    def __init__(self, warehouse: Warehouse, name: str = "orders", capabilities: Capabilities = SEPARATE) -> None:
        self.store = Store()
        self.table = Warehouse(warehouse.url, warehouse.landing, "shop", name)
        self.table.table = TABLE
        self.table.destination = Memory.opening(self.store, capabilities)
        self.key = TableKey("shop", name)
        self.relation = f"shop__{name}"

    def load(self, manifest: Manifest) -> LoadResult:
        """Load a batch, again after a kill as the next run would."""
        try:
            return self.table.load_landed(manifest)
        except Killed:
            return self.table.load_landed(manifest)

    def verify(self, *documents: dict[str, Any]) -> Verified:
        """Compare all documents that the source has with the rows."""
        decoder = make_decoder(children=["items"], seed=TABLE.fingerprint())
        decoder.push(b"".join(map(bson.encode, documents)))
        tables = decoder.flush().tables
        children = {"items": partial(iter, [tables["items"]])}
        with database.connect(self.table.url) as connection:
            return verify(
                connection,
                *self.key,
                lambda: iter([tables[""]]),
                children,
                open_destination=Memory.opening(self.store),
            )

    def told(self) -> dict[str, list[Any]]:
        """Return what the control tables say, whatever the table's name and the time."""
        place = "where source = 'shop' and table_name = %s order by 1, 2, 3"
        queries = {
            "batches": f"select batch_id, status, rows_inserted, rows_updated, rows_unchanged, rows_deleted,"
            f" rows_rejected, rows_rescued, child_rows, schema_changes from ops.batches {place}",
            "columns": f"select child, path, kind, first_batch, stored, position from ops.columns {place}",
            "changes": f"select field, change, batch_id, old_type, new_type, action from ops.schema_changes {place}",
            "rejects": f"select batch_id, stage, coalesce(document_id, ''), reason, document from ops.rejects {place}",
            "statistics": "select batch_id, child, path, present, rescued, sanitised from ops.field_statistics"
            f" {place}",
            "checkpoint": f"select batch_id, version, state from ops.checkpoints {place}",
        }
        return {name: self.table.rows(query, self.key.table_name) for name, query in queries.items()}

    def rows(self) -> dict[str, Any]:
        """Return what the destination holds, whatever the table's name."""
        return {
            name.replace(self.relation, "t", 1): (contents.types, contents.rows)
            for name, contents in self.store.relations.items()
        }


def order(number: int, **more: Any) -> dict[str, Any]:
    return {"_id": number, "total": number, "items": [{"k": number}] * (number % 3), **more}


FIRST = [order(number, note="a\x00b") for number in range(6)]
WIDER = [order(1, total=0.5, new="x"), order(7, new="y")]
LAST = [order(0, total=1.5), order(1, total=0.5, new="x"), order(8, items=[{"k": 0.25}])]


def land_all(table: Warehouse) -> Iterator[Manifest]:
    """Yield batches that are new, drift, delete, hold a document back, cannot read one, and are the whole table."""
    yield table.land(FIRST, part_rows=2)
    yield table.land(WIDER)
    yield table.land([order(2, total=Int64(9)), order(9, refused=1)], deletes=[3], mode="cdc")
    yield table.land([*LAST, {"_id": 2, "total": 9}, UNREADABLE], mode="full", scope=SNAPSHOT)
    yield table.land(LAST, mode="full", scope=SNAPSHOT)


def loaded(warehouse: Warehouse, name: str, kill_at: int | None = None) -> Separate:
    """Load all batches one after the other, with one kill."""
    found = Separate(warehouse, name)
    found.store.kill_at = kill_at
    for manifest in land_all(found.table):
        assert found.load(manifest).status in ("loaded", "already_loaded")
    return found


def test_a_table_goes_through_loads_drift_and_deletes_and_equals_its_source(warehouse: Warehouse) -> None:
    found = loaded(warehouse, "orders")
    assert found.verify(*LAST).equal
    differing = found.verify(*LAST[1:])
    assert [difference.id for difference in differing.differences] == ["0"]
    told = found.told()
    assert [row[2:6] for row in told["batches"]] == [
        (6, 0, 0, 0), (1, 1, 0, 0), (0, 1, 0, 1), (1, 2, 1, 0), (0, 0, 3, 4)]  # fmt: skip
    assert {(row[0], row[1]) for row in told["changes"] if row[1] == "widened"} == {
        ("total", "widened"),
        ("items[].k", "widened"),
    }
    assert [row[1:3] for row in told["rejects"]] == [("load", "9"), ("extract", "")]
    assert told["rejects"][0][3] == "on_drift is freeze: refused is int"


@pytest.mark.slow
def test_killed_at_any_step_it_ends_in_the_same_state(warehouse: Warehouse) -> None:
    whole = loaded(warehouse, "whole")
    wanted, rows = whole.told(), whole.rows()
    assert whole.store.steps > 20
    for step in range(1, whole.store.steps + 1):
        found = loaded(warehouse, f"killed_{step}", step)
        assert found.told() == wanted, f"killed at step {step}"
        assert found.rows() == rows, f"killed at step {step}"


def test_a_column_that_nobody_was_told_of_is_made_anew_or_taken_as_it_is(warehouse: Warehouse) -> None:
    found = Separate(warehouse)
    found.load(found.table.land([order(1)]))
    lost = found.table.land([order(1, total=0.5, new=5)])
    # Killed once the column was widened, and once another was added.
    for _ in range(2):
        found.store.kill_at = found.store.steps + 2
        with pytest.raises(Killed):
            found.table.load_landed(lost)
    found.store.kill_at = None
    found.table.landing.delete(*found.key, lost.batch_id)
    result = found.table.load_landed(found.table.land([order(2, total=Int64(2**53 + 1), new="text")]))
    assert result.status == "loaded"
    with database.connect(warehouse.url) as connection:
        known = {column.path: column.kind for column in columns.of_relation(connection, found.key, "")}
        told = [(change.field, change.change) for change in schema_changes.find(connection, [found.key])]
    assert (known["total"], known["new"]) == ("decimal", "string")
    assert ("total", "widened") in told
    types, rows = found.rows()["t"]
    assert (types["new"], rows["2"]["new"]) == ("text", "text")


def test_rules_that_refer_to_another_table_are_told_as_not_tried(warehouse: Warehouse) -> None:
    found = Separate(warehouse)
    rules = [{"field": "total", "reference": "shop.totals", "name": "known total"}]
    found.table.table = MongoTable.model_validate({"rules": rules})
    result = found.load(found.table.land([{"_id": 1, "total": 1}]))
    assert result.warnings == ["the destination compares no tables: not tried: 'known total'"]


def ref_and_settings(found: Separate) -> tuple[TableRef, Settings]:
    source = MongoSource.model_validate(
        {"kind": "mongodb", "uri": "mongodb://nowhere", "database": "shop", "tables": {"orders": {}}}
    )
    settings = Settings.model_validate({"url": found.table.url, "landing": found.table.landing.root})
    return TableRef(*found.key, source, found.table.table), settings


@pytest.mark.parametrize("is_killed", [False, True], ids=["whole", "killed before the control tables were told"])
def test_a_reset_replaces_all_rows_and_loses_no_batch_that_was_committed(warehouse: Warehouse, is_killed: bool) -> None:
    found = Separate(warehouse)
    found.load(found.table.land(FIRST, mode="full", scope=SNAPSHOT))
    before = found.table.land(WIDER)
    # Its last step is that the commit is done, after a change of columns and the writing.
    found.store.kill_at = found.store.steps + 6 if is_killed else None
    with pytest.raises(Killed) if is_killed else nullcontext():
        found.table.load_landed(before)
    assert warehouse.value("select count(*) from ops.batches") == (1 if is_killed else 2)
    begin_reset(*ref_and_settings(found), open_destination=found.table.destination)
    assert warehouse.rows("select status from ops.batches where batch_id = %s", before.batch_id) == [("loaded",)]
    result = found.load(found.table.land([*LAST, UNREADABLE], mode="full", scope=SNAPSHOT, previous={}))
    assert (result.status, result.inserted, result.deleted) == ("loaded", 3, 0)
    assert found.verify(*LAST).equal
    with database.connect(warehouse.url) as connection:
        assert resets.is_answered(connection, found.key)


DOCUMENTS = [
    {"_id": 1, "total": 5, "note": "a\x00b", "ctid": True, "tags": ["x\x00"]},
    {"_id": 2, "total": 6, "at": bson.datetime_ms.DatetimeMS(-300_000_000_000_000), "address": {"city": "Lyon"}},
    {"_id": "k" * 5_000, "total": 7},
]
LATER = [{"_id": 1, "total": 0.5, "note": 3}, {"_id": 4, "total": Int64(7)}]


def canonical_rows(found: Separate) -> dict[str, canonical.Row]:
    """Return the rows in the form that verify compares."""
    with database.connect(found.table.url) as connection:
        stored = [column for column in columns.of_relation(connection, found.key, "") if column.stored]
    held = Memory(found.store).rows(found.relation, stored, child=False)
    return {key: canonical.of_bronze(stored, row.values, row.rescued) for key, row in held.items()}


def landed(documents: list[dict[str, Any]]) -> list[canonical.Row]:
    """Return documents in the form that verify compares."""
    decoder = make_decoder()
    decoder.push(b"".join(map(bson.encode, documents)))
    return list(canonical.of_landed(decoder.flush().tables[""]))


@pytest.mark.parametrize("capabilities", [SEPARATE, replace(SEPARATE, most_columns=2), ROOMY])
def test_no_value_is_lost_whatever_the_limits(warehouse: Warehouse, capabilities: Capabilities) -> None:
    found = Separate(warehouse, capabilities=capabilities)
    found.load(found.table.land(DOCUMENTS))
    assert list(canonical_rows(found).values()) == landed(DOCUMENTS)
    found.load(found.table.land(LATER))
    rows = canonical_rows(found)
    assert [rows[key] for key in ("1", "4")] == landed(LATER)
    assert len(rows) == 4


def test_limits_decide_what_has_a_column_of_its_own(warehouse: Warehouse) -> None:
    narrow, roomy = Separate(warehouse, "narrow"), Separate(warehouse, "roomy", ROOMY)
    for found in (narrow, roomy):
        found.load(found.table.land(DOCUMENTS))
    columns_of = [[*found.rows()["t"][0]] for found in (narrow, roomy)]
    assert columns_of[0] == ["total", "note", "ctid_", "tags", "at", "address__city"]
    assert columns_of[1] == ["total", "note", "ctid", "tags", "at", "address__city"]
    rows = [found.rows()["t"][1] for found in (narrow, roomy)]
    assert [row["_rescued"] is None for row in rows[1].values()] == [True, True, True]
    assert [row["_rescued"] is None for row in rows[0].values()] == [False, False, False]
    assert "k" * 5_000 in rows[1] and "k" * 5_000 not in rows[0]
    assert rows[1]["1"]["note"] == "a\x00b" and rows[0]["1"]["note"] == "ab"
