"""Batches into bronze: first load, merge, scopes, deletes, children, rejects, and loading twice."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import bson
import pytest
from bson.decimal128 import Decimal128
from bson.int64 import Int64

from tasks.bronze.capabilities import POSTGRES, UNBOUNDED
from tasks.bronze.postgres.destination import Postgres
from tasks.errors import RejectLimitExceeded
from tasks.mongodb.config import MongoTable
from tests.fixtures.bronze import Warehouse


def orders(*numbers: int, **more: Any) -> list[dict[str, Any]]:
    return [
        {
            "_id": number,
            "total": number * 1.5,
            "customer": {"name": f"c{number}", "zip": "01234"},
            "tags": ["a"],
            **more,
        }
        for number in numbers
    ]


def test_first_load_copies_into_a_new_table_with_a_key(warehouse: Warehouse) -> None:
    result = warehouse.load(orders(*range(100)), mode="full", scope={"type": "snapshot"})
    assert (result.status, result.plan, result.inserted, result.updated) == ("loaded", "first", 100, 0)
    assert warehouse.rows(
        "select _id, total, customer__name, customer__zip, tags, _deleted_at from bronze.shop__orders where _id = %s",
        "7",
    ) == [("7", 10.5, "c7", "01234", ["a"], None)]
    assert warehouse.rows("select indisprimary from pg_index where indrelid = 'bronze.shop__orders'::regclass") == [
        (True,)
    ]
    assert warehouse.rows(
        "select count(distinct _batch_id), count(_loaded_at), count(_hash) from bronze.shop__orders"
    ) == [(1, 100, 100)]
    # The constants of the copy were defaults for its time only.
    assert warehouse.value("select count(*) from pg_attrdef where adrelid = 'bronze.shop__orders'::regclass") == 0


def test_merge_touches_only_rows_that_differ(warehouse: Warehouse) -> None:
    warehouse.load(orders(1, 2, 3))
    before = dict(warehouse.rows("select _id, xmin::text from bronze.shop__orders"))
    changed = orders(2, 3, 4)
    changed[0]["total"] = 99.0
    result = warehouse.load(changed)
    assert (result.plan, result.updated, result.inserted, result.unchanged) == ("staged", 1, 1, 1)
    after = dict(warehouse.rows("select _id, xmin::text from bronze.shop__orders"))
    assert {key for key in before if before[key] != after[key]} == {"2"}
    assert warehouse.rows("select _id, total from bronze.shop__orders order by _id") == [
        ("1", 1.5),
        ("2", 99.0),
        ("3", 4.5),
        ("4", 6.0),
    ]


def test_loading_a_batch_again_is_a_no_op_that_says_so(warehouse: Warehouse) -> None:
    manifest = warehouse.land(orders(1, 2))
    first, second = warehouse.load_landed(manifest), warehouse.load_landed(manifest)
    assert (first.status, second.status) == ("loaded", "already_loaded")
    assert second.inserted == first.inserted == 2
    assert warehouse.rows("select version, state from ops.checkpoints") == [(1, {"tick": 1})]


def test_a_batch_whose_row_was_taken_out_by_hand_loads_again(warehouse: Warehouse) -> None:
    warehouse.table = MongoTable(arrays={"items": "table"}, history=True)
    warehouse.load([{"_id": 1, "v": 1}])
    manifest = warehouse.land([{"_id": 1, "v": "text", "w": 1, "items": [{"n": 1}]}, {"_id": 2, "v": 2}], mode="cdc")
    asked = (
        "select * from bronze.shop__orders order by _id",
        "select * from bronze.shop__orders__items order by _id",
        "select * from bronze.shop__orders__history order by _id, _valid_from",
        "select * from ops.field_statistics order by batch_id, child, path",
        "select state, batch_id from ops.checkpoints",
    )
    warehouse.load_landed(manifest)
    before = [warehouse.rows(query) for query in asked]
    warehouse.execute(f"delete from ops.batches where batch_id = '{manifest.batch_id}'")
    again = warehouse.load_landed(manifest)
    assert (again.status, again.inserted, again.updated, again.unchanged) == ("loaded", 0, 0, 2)
    assert [warehouse.rows(query) for query in asked] == before
    assert warehouse.load_landed(manifest).status == "already_loaded"


def test_snapshot_marks_what_is_gone_and_keeps_its_values(warehouse: Warehouse) -> None:
    snapshot = {"type": "snapshot"}
    warehouse.load(orders(1, 2, 3), scope=snapshot, mode="full")
    result = warehouse.load(orders(1, 3), scope=snapshot, mode="full")
    assert (result.deleted, result.unchanged) == (1, 2)
    assert warehouse.rows("select _id, total, _deleted_at is not null from bronze.shop__orders order by 1") == [
        ("1", 1.5, False),
        ("2", 3.0, True),
        ("3", 4.5, False),
    ]
    back = warehouse.load(orders(1, 2, 3), scope=snapshot, mode="full")
    assert (back.updated, back.deleted) == (1, 0)
    assert warehouse.value("select count(*) from bronze.shop__orders where _deleted_at is not null") == 0


def test_hard_deletes_remove_rows(warehouse: Warehouse) -> None:
    warehouse.table = MongoTable(hard_deletes=True)
    warehouse.load(orders(1, 2), scope={"type": "snapshot"}, mode="full")
    assert warehouse.load(orders(2), scope={"type": "snapshot"}, mode="full").deleted == 1
    assert warehouse.rows("select _id from bronze.shop__orders") == [("2",)]


def test_rejected_documents_are_kept_whole_and_not_taken_for_deleted(warehouse: Warehouse) -> None:
    snapshot = {"type": "snapshot"}
    warehouse.load(orders(1, 2), scope=snapshot, mode="full")
    broken = bytearray(bson.encode({"_id": 2, "name": "x"}))
    broken[4 + 1 + 4 + 4] = 0x7E  # the type of the second element: no such type
    result = warehouse.load([*orders(1), bytes(broken)], scope=snapshot, mode="full")
    assert (result.rejected, result.deleted) == (1, 0)
    [(document_id, raw, stage)] = warehouse.rows("select document_id, bytes, stage from ops.rejects")
    assert (document_id, bytes(raw), stage) == ("2", bytes(broken), "extract")


def test_reject_limit_fails_the_load_and_still_shows_the_rejects(warehouse: Warehouse) -> None:
    warehouse.table = MongoTable(reject_limit=0)
    with pytest.raises(RejectLimitExceeded):
        warehouse.load([*orders(1), b"\x0c\x00\x00\x00\x7ea\x00\x00\x00\x00\x00\x00"])
    assert warehouse.value("select count(*) from ops.rejects") == 1
    assert warehouse.value("select count(*) from ops.batches") == 0
    assert warehouse.value("select to_regclass('bronze.shop__orders')::text") is None


def huge(number: int) -> dict[str, Any]:
    return {"_id": number} | {f"f{place:04d}": number for place in range(1_300)}


def test_only_the_rows_that_postgres_refuses_are_rejected_and_they_count_against_the_limit(
    warehouse: Warehouse,
) -> None:
    # No longer taken apart beforehand, rows of 1,300 numbers are what Postgres itself calls too big for a page.
    roomy = replace(POSTGRES, most_row_bytes=UNBOUNDED)
    warehouse.destination = partial(Postgres, capabilities=roomy)
    warehouse.load([{"_id": -1, "f0000": 1}])
    documents = [huge(n) if n in (7, 8, 60) else {"_id": n, "f0000": n} for n in range(100)]
    manifest = warehouse.land(documents, part_rows=50)
    warehouse.table = MongoTable(reject_limit=2)
    with pytest.raises(RejectLimitExceeded, match="3 documents were rejected, 2 are allowed"):
        warehouse.load_landed(manifest)
    assert warehouse.value("select count(*) from bronze.shop__orders") == 1
    warehouse.table = MongoTable(reject_limit=3)
    result = warehouse.load_landed(manifest)
    assert (result.inserted, result.rejected) == (97, 3)
    found = warehouse.rows("select document_id, stage, reason, document::json->>'f1299' from ops.rejects order by 1")
    assert [(key, stage, value) for key, stage, _, value in found] == [(key, "load", key) for key in ("60", "7", "8")]
    assert all("row is too big" in reason for _, _, reason, _ in found)
    stored = {int(row[0]) for row in warehouse.rows("select _id from bronze.shop__orders where _id <> '-1'")}
    assert stored == set(range(100)) - {7, 8, 60}


def test_ids_of_a_sweep_delete_the_others(warehouse: Warehouse) -> None:
    warehouse.load(orders(1, 2, 3))
    assert warehouse.load(orders(4), ids=[1, 3]).deleted == 1
    assert warehouse.rows("select _id from bronze.shop__orders where _deleted_at is null order by 1") == [
        ("1",),
        ("3",),
        ("4",),
    ]
    assert warehouse.load([], ids=[]).deleted == 3


def test_changes_of_a_stream_end_in_the_last_state(warehouse: Warehouse) -> None:
    warehouse.load(orders(1, 2, 3), mode="full", scope={"type": "snapshot"})
    result = warehouse.load(
        [{"_id": 1, "total": 1.0}, {"_id": 1, "total": 2.0}, {"_id": 9, "total": 9.0}],
        deletes=[2, 9, 77],
        mode="cdc",
        part_rows=1,
    )
    assert (result.updated, result.inserted, result.deleted) == (1, 0, 1)
    assert warehouse.rows("select _id, total, _deleted_at is null from bronze.shop__orders order by 1") == [
        ("1", 2.0, True),
        ("2", 3.0, False),
        ("3", 4.5, True),
    ]


def test_partition_scope_replaces_whole_days(warehouse: Warehouse) -> None:
    def spend(key: str, day: int) -> dict[str, Any]:
        return {"_id": key, "day": datetime(2026, 1, day, tzinfo=UTC), "cost": 1.0}

    scope = {"type": "partition", "field": "day", "from": "2026-01-02", "to": "2026-01-03"}
    warehouse.load([spend("a", 1), spend("b", 2), spend("c", 3), spend("d", 4)])
    assert warehouse.load([spend("c", 3), spend("e", 2)], scope=scope).deleted == 1
    assert warehouse.rows("select _id from bronze.shop__orders where _deleted_at is null order by 1") == [
        ("a",),
        ("c",),
        ("d",),
        ("e",),
    ]


def test_child_rows_are_replaced_with_their_parent(warehouse: Warehouse) -> None:
    warehouse.table = MongoTable(arrays={"items": "table", "items.discounts": "table"})
    first = [
        {"_id": 1, "items": [{"sku": "a", "discounts": [{"code": "x"}, {"code": "y"}]}, {"sku": "b"}]},
        {"_id": 2, "items": [{"sku": "c"}]},
        {"_id": 3, "items": [{"sku": "d"}]},
    ]
    assert warehouse.load(first, mode="full", scope={"type": "snapshot"}).child_rows == 6
    query = "select _root_id, _position, sku from bronze.shop__orders__items where _deleted_at is null order by 1, 2"
    assert warehouse.rows(query) == [("1", 0, "a"), ("1", 1, "b"), ("2", 0, "c"), ("3", 0, "d")]
    assert warehouse.rows("select _parent_id, code from bronze.shop__orders__items__discounts order by 2") == [
        ("1:0", "x"),
        ("1:0", "y"),
    ]
    second = [{"_id": 1, "items": [{"sku": "z"}]}, {"_id": 2, "items": [{"sku": "c"}]}]
    warehouse.load(second, mode="full", scope={"type": "snapshot"})
    assert warehouse.rows(query) == [("1", 0, "z"), ("2", 0, "c")]
    assert warehouse.value("select count(*) from bronze.shop__orders__items__discounts") == 0
    assert warehouse.rows("select sku from bronze.shop__orders__items where _deleted_at is not null") == [("d",)]


def test_the_last_of_two_versions_in_a_batch_wins_with_its_children(warehouse: Warehouse) -> None:
    warehouse.table = MongoTable(arrays={"items": "table"})
    versions = [{"_id": 1, "v": 1, "items": [{"sku": "a"}, {"sku": "b"}]}, {"_id": 1, "v": 2, "items": []}]
    result = warehouse.load([versions[0], {"_id": 2, "v": 1, "items": [{"sku": "q"}]}, versions[1]], part_rows=2)
    assert result.inserted == 2
    assert warehouse.rows("select _id, v from bronze.shop__orders order by 1") == [("1", 2), ("2", 1)]
    assert warehouse.rows("select sku from bronze.shop__orders__items") == [("q",)]


def test_new_fields_become_columns_and_misfits_are_rescued(warehouse: Warehouse) -> None:
    warehouse.load([{"_id": 1, "total": 5, "name": "x"}])
    result = warehouse.load([{"_id": 2, "total": "five", "name": 7, "colour": "red"}, {"_id": 3, "total": 6}])
    assert result.rescued == 1
    assert warehouse.rows("select _id, total, name, colour, _rescued from bronze.shop__orders order by 1") == [
        ("1", 5, "x", None, None),
        ("2", None, None, "red", {"total": "five", "name": 7}),
        ("3", 6, None, None, None),
    ]
    assert ("colour", "appeared") in warehouse.changes() and ("total", "type_conflict") in warehouse.changes()


@pytest.mark.usefixtures("encoder")
def test_an_infinite_double_is_one_in_a_numeric_column_too(warehouse: Warehouse) -> None:
    values = [math.inf, -math.inf, math.nan, Decimal128("1.5"), Decimal128("Infinity")]
    warehouse.load([{"_id": number, "x": value} for number, value in enumerate(values)])
    assert warehouse.column_type("x") == "numeric"
    assert warehouse.rows("select x::text, _rescued from bronze.shop__orders order by _id") == [
        (text, None) for text in ("Infinity", "-Infinity", "NaN", "1.5", "Infinity")
    ]


def test_numbers_and_decimals_share_exact_columns(warehouse: Warehouse) -> None:
    warehouse.load(
        [
            {"_id": 1, "a": 1, "b": Decimal128("1.20"), "c": 2**40},
            {"_id": 2, "a": 2.5, "b": Int64(2**62 + 1), "c": 3},
            {"_id": 3, "a": Int64(2**60 + 1), "b": Decimal128("NaN")},
            {"_id": 4, "b": Decimal128("1E+40")},
            {"_id": 5, "b": Decimal128("-0")},
        ]
    )
    assert [warehouse.column_type(name) for name in "abc"] == ["numeric", "numeric", "bigint"]
    assert warehouse.rows("select a::text, b::text, c, _rescued::text from bronze.shop__orders order by _id") == [
        ("1", "1.20", 2**40, None),
        ("2.5", str(2**62 + 1), 3, None),
        (str(2**60 + 1), "NaN", None, None),
        (None, "1" + "0" * 40, None, None),
        (None, "0", None, '{"b": {"$numberDecimal": "-0"}}'),
    ]


def test_an_older_batch_never_turns_rows_back(warehouse: Warehouse) -> None:
    old = warehouse.land([{"_id": 1, "v": 1}], previous={}, checkpoint={"n": 1})
    new = warehouse.land([{"_id": 1, "v": 2}], previous={}, checkpoint={"n": 2})
    other = warehouse.land([{"_id": 1, "v": 3}], previous={"n": 2}, checkpoint={"n": 3})
    warehouse.load_landed(new)
    assert warehouse.load_landed(old).status == "superseded"
    assert warehouse.rows("select v from bronze.shop__orders") == [(2,)]
    assert warehouse.value("select state from ops.checkpoints") == {"n": 2}
    warehouse.load_landed(other)
    assert warehouse.value("select state from ops.checkpoints") == {"n": 3}


def test_a_late_batch_brings_only_what_is_missing(warehouse: Warehouse) -> None:
    warehouse.load([{"_id": 1, "v": 1}, {"_id": 2, "v": 1}, {"_id": 5, "v": 1}])
    late = warehouse.land(
        [{"_id": 1, "v": 2}, {"_id": 2, "v": 2}, {"_id": 3, "v": 2}],
        deletes=[4, 5],
        mode="cdc",
        previous={"n": 1},
        checkpoint={"n": 2},
    )
    warehouse.load([{"_id": 1, "v": 3}, {"_id": 4, "v": 3}], mode="cdc", previous={"n": 5}, checkpoint={"n": 6})
    result = warehouse.load_landed(late)
    assert result.status == "loaded" and "newer" in result.warnings[0]
    assert warehouse.rows("select _id, v, _deleted_at is null from bronze.shop__orders order by 1") == [
        ("1", 3, True),
        ("2", 2, True),
        ("3", 2, True),
        ("4", 3, True),
        ("5", 1, False),
    ]
    assert warehouse.value("select state from ops.checkpoints") == {"n": 6}


def test_history_keeps_the_versions_of_rows_that_are_removed(warehouse: Warehouse) -> None:
    warehouse.table = MongoTable(history=True, hard_deletes=True)
    snapshot = {"type": "snapshot"}
    warehouse.load([{"_id": 1, "v": 1}, {"_id": 2, "v": 1}], scope=snapshot, mode="full")
    warehouse.load([{"_id": 1, "v": 1}], scope=snapshot, mode="full")
    warehouse.load([{"_id": 1, "v": 1}, {"_id": 2, "v": 2}], scope=snapshot, mode="full")
    assert warehouse.rows("select _id, v from bronze.shop__orders order by 1") == [("1", 1), ("2", 2)]
    assert warehouse.rows(
        "select _id, v, extract(minute from _valid_from)::int, extract(minute from _valid_to)::int"
        " from bronze.shop__orders__history order by _id, _valid_from"
    ) == [("1", 1, 1, None), ("2", 1, 1, 2), ("2", 2, 3, None)]


def test_history_keeps_every_version(warehouse: Warehouse) -> None:
    warehouse.table = MongoTable(history=True)
    snapshot = {"type": "snapshot"}
    warehouse.load([{"_id": 1, "v": 1}, {"_id": 2, "v": 1}], scope=snapshot, mode="full")
    warehouse.load([{"_id": 1, "v": 2, "w": "new"}, {"_id": 2, "v": 1}], scope=snapshot, mode="full")
    warehouse.load([{"_id": 1, "v": 2, "w": "new"}], scope=snapshot, mode="full")
    assert warehouse.rows(
        "select _id, v, w, extract(minute from _valid_from)::int, extract(minute from _valid_to)::int"
        " from bronze.shop__orders__history order by _id, _valid_from"
    ) == [("1", 1, None, 1, 2), ("1", 2, "new", 2, None), ("2", 1, None, 1, 3)]
