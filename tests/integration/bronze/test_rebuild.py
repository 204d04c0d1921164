"""A rebuild from the landing: the same rows, better types, and what the landing holds no more."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from bson.binary import Binary
from bson.decimal128 import Decimal128
from bson.int64 import Int64

from tasks.bronze.postgres import ddl
from tasks.bronze.rebuild import rebuild_table
from tasks.errors import LoadError
from tasks.mongodb.config import MongoTable
from tasks.sources import OnDrift
from tests.fixtures.bronze import Odd, Warehouse, with_table

SNAPSHOT = {"type": "snapshot"}


def test_rebuild_gives_the_same_rows_and_better_types(warehouse: Warehouse, place: Any) -> None:
    warehouse.table = MongoTable(arrays={"items": "table"}, history=True)
    ref = with_table(place, warehouse.table)
    warehouse.load([{"_id": 1, "x": "odd", "items": [{"n": 1}]}], mode="full", scope=SNAPSHOT)
    warehouse.load([{"_id": 1, "x": 5, "items": [{"n": 2}, {"n": 3}]}, {"_id": 2, "x": 6}], mode="cdc")
    warehouse.load([{"_id": 3, "x": 7}], deletes=[2], mode="cdc")
    warehouse.execute("create view above as select _id from bronze.shop__orders")
    assert warehouse.column_type("x") == "text"
    query = "select _id, _batch_id, _extracted_at, _deleted_at from bronze.shop__orders order by 1"
    before = warehouse.rows(query), warehouse.rows("select * from ops.checkpoints"), warehouse.changes()
    results = rebuild_table(ref, place[1])
    assert [result.status for result in results] == ["loaded"] * 3
    assert (warehouse.rows(query), warehouse.rows("select * from ops.checkpoints"), warehouse.changes()) == before
    assert warehouse.column_type("x") == "bigint"
    assert warehouse.rows("select _id, x, _rescued from bronze.shop__orders order by 1") == [
        ("1", 5, None),
        ("2", 6, None),
        ("3", 7, None),
    ]
    assert warehouse.rows("select n from bronze.shop__orders__items order by n") == [(2,), (3,)]
    assert warehouse.value("select count(*) from bronze.shop__orders__history") == 4
    assert warehouse.value("select count(*) from above") == 3
    assert warehouse.load([{"_id": 3, "x": 8}], mode="cdc").updated == 1


def test_rebuild_keeps_what_no_batch_since_the_last_complete_read_brings(warehouse: Warehouse, place: Any) -> None:
    warehouse.table = MongoTable(arrays={"items": "table"}, history=True)
    ref = with_table(place, warehouse.table)
    full = {"mode": "full", "scope": SNAPSHOT}
    same = {"_id": 1, "x": 1, "items": [{"n": 1}]}
    warehouse.load([same, *({"_id": n, "x": n, "y": "old", "items": [{"n": n}, {"n": 9}]} for n in (2, 3, 4))], **full)
    warehouse.load([same, {"_id": 2, "x": 22}, {"_id": 4, "x": 4, "y": "old", "items": [{"n": 4}, {"n": 9}]}], **full)
    # Of 4 there is no readable version in the last read, 3 has been gone for two reads, 2 changed once more.
    warehouse.load([same, {"_id": 2, "x": 0.5}, Odd.of({"_id": 4, "odd": True}).raw], **full)
    queries = (
        "select _id, x, y, _rescued, _deleted_at from bronze.shop__orders order by _id",
        "select _id, _root_id, n, _deleted_at from bronze.shop__orders__items order by _id",
        "select _id, x, y, _hash, _valid_from, _valid_to from bronze.shop__orders__history order by _id, _valid_from",
    )
    before = [warehouse.rows(query) for query in queries]
    assert [(row[0], row[4] is None) for row in before[0]] == [("1", True), ("2", True), ("3", False), ("4", True)]
    assert (len(before[1]), len(before[2])) == (5, 6)
    for _ in range(2):
        assert [result.status for result in rebuild_table(ref, place[1])] == ["loaded"]
        assert [warehouse.rows(query) for query in queries] == before
    assert warehouse.rows("select relname from pg_class where relname like 'kept%%'") == []
    warehouse.load([same, {"_id": 3, "x": 3}], **full)
    assert warehouse.rows("select _id, x from bronze.shop__orders where _deleted_at is null order by 1") == [
        ("1", 1),
        ("3", 3),
    ]


def test_rebuild_keeps_the_history_while_it_is_not_written(warehouse: Warehouse, place: Any) -> None:
    warehouse.table = MongoTable(history=True)
    for value in (1, 2):
        warehouse.load([{"_id": 1, "x": value}], mode="full", scope=SNAPSHOT)
    query = "select x, _valid_from, _valid_to from bronze.shop__orders__history order by 1"
    before = warehouse.rows(query)
    assert len(before) == 2
    rebuild_table(with_table(place, MongoTable()), place[1])
    assert warehouse.rows(query) == before


@pytest.mark.parametrize(
    ("old", "new", "pg_type", "told"),
    [
        (Int64(2**53 + 1), 0.5, "numeric", False),
        (5, 0.5, "double precision", False),
        (0.1, Decimal128("0.5"), "numeric", False),
        (-0.0, Decimal128("0.5"), "double precision", True),
        (Decimal128("0.10"), 7, "numeric", True),
        ("odd", 7, "text", True),
    ],
)
def test_rebuild_keeps_deleted_rows_exactly_whatever_the_types_become(
    warehouse: Warehouse, place: Any, old: Any, new: Any, pg_type: str, told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ddl, "WIDEN_MOST_BYTES", 0)
    warehouse.load([{"_id": 1, "x": old}], mode="full", scope=SNAPSHOT)
    warehouse.load([{"_id": 2, "x": new}], mode="full", scope=SNAPSHOT)
    query = "select x::text, _rescued from bronze.shop__orders where _id = '1'"
    before = warehouse.rows(query)
    monkeypatch.undo()
    [result] = rebuild_table(*place)
    assert warehouse.rows(query) == before
    assert warehouse.column_type("x") == pg_type
    assert ["keeps its columns" in warning for warning in result.warnings] == [True] * told
    assert warehouse.value("select count(*) from bronze.shop__orders where _deleted_at is null") == 1


def test_rebuild_keeps_the_rights_on_its_relations(warehouse: Warehouse, place: Any) -> None:
    warehouse.load([{"_id": 1, "x": 1, "secret": 2}], mode="full", scope=SNAPSHOT)
    warehouse.execute("drop role if exists reader_of_bronze; create role reader_of_bronze")
    warehouse.execute("grant select (_id, x) on bronze.shop__orders to reader_of_bronze")
    warehouse.execute("grant delete on bronze.shop__orders to reader_of_bronze with grant option")
    rebuild_table(*place)
    asked = [("x", "select"), ("secret", "select")]
    told = [warehouse.value("select has_column_privilege('reader_of_bronze', 'bronze.shop__orders', %s, %s)", *one)
            for one in asked]  # fmt: skip
    assert told == [True, False]
    assert warehouse.value(
        "select has_table_privilege('reader_of_bronze', 'bronze.shop__orders', 'delete with grant option')"
    )
    warehouse.execute("drop owned by reader_of_bronze; drop role reader_of_bronze")


def test_rebuild_keeps_types_where_views_stand_against_new_ones(warehouse: Warehouse, place: Any) -> None:
    warehouse.load([{"_id": 1, "x": "odd"}], mode="full", scope=SNAPSHOT)
    warehouse.load([{"_id": 1, "x": 5}, {"_id": 2, "x": 6}], mode="cdc")
    warehouse.execute("create view above as select upper(x) as x from bronze.shop__orders")
    [*_, result] = rebuild_table(*place)
    [warning] = result.warnings
    assert warning.startswith("all columns keep their types: public.above cannot be made again: ")
    assert warehouse.column_type("x") == "text"
    assert warehouse.rows("select _id, x, _rescued from bronze.shop__orders order by 1") == [
        ("1", None, {"x": 5}),
        ("2", None, {"x": 6}),
    ]


VALUES_BY_TYPE: dict[str, Any] = {
    "bigint": 5,
    "double precision": 0.5,
    "numeric": Decimal128("0.10"),
    "text": "text",
    "boolean": True,
    "timestamp with time zone": datetime(2026, 1, 2, tzinfo=UTC),
    "uuid": Binary.from_uuid(UUID(int=7)),
    "bytea": b"bytes",
    "jsonb": [1],
}


def test_rebuild_gives_each_type_for_each_other_where_kept_rows_hold_nulls_alone(
    warehouse: Warehouse, place: Any
) -> None:
    pairs = {f"f{a}_{b}": (old, new) for a, old in enumerate(VALUES_BY_TYPE) for b, new in enumerate(VALUES_BY_TYPE)}
    before = {name: VALUES_BY_TYPE[old] for name, (old, _) in pairs.items()}
    after = {name: VALUES_BY_TYPE[new] for name, (_, new) in pairs.items()}
    warehouse.load([{"_id": 1, "own": "stays"}, {"_id": 2, **before}], mode="full", scope=SNAPSHOT)
    warehouse.load([{"_id": 2, **after}], mode="full", scope=SNAPSHOT)
    [result] = rebuild_table(*place)
    assert (result.status, result.rescued) == ("loaded", 0)
    # A numeric stays one: it may hold whole numbers that no double represents.
    staying = {("numeric", "double precision"): "numeric"}
    expected = {name: staying.get(pair, pair[1]) for name, pair in pairs.items()}
    assert {name: warehouse.column_type(name) for name in pairs} == expected
    filled = ", ".join(f'num_nonnulls("{name}")' for name in pairs)
    assert warehouse.rows(f"select _id, own, _deleted_at is null, {filled} from bronze.shop__orders order by 1") == [
        ("1", "stays", False, *[0] * len(pairs)),
        ("2", None, True, *[1] * len(pairs)),
    ]


def test_rebuild_ends_with_one_column_of_the_wider_type(
    warehouse: Warehouse, place: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ddl, "WIDEN_MOST_BYTES", 0)
    warehouse.table = MongoTable(arrays={"items": "table"}, history=True)
    large = 2**53 + 1
    warehouse.load([{"_id": 1, "x": Int64(large), "y": 1, "items": [{"n": 1}]}], mode="full", scope=SNAPSHOT)
    warehouse.load([{"_id": 2, "x": 0.5, "y": 0.5, "items": [{"n": 0.5}, {"n": 2}]}], mode="cdc")
    warehouse.execute("create view above as select y, y__double from bronze.shop__orders")
    warehouse.execute("create view older as select _id, y__double from bronze.shop__orders__history")
    warehouse.execute("create view higher as select * from above")
    monkeypatch.undo()
    for _ in range(2):
        *_, result = rebuild_table(with_table(place, warehouse.table), place[1])
        assert [warehouse.column_type(name) for name in ("x", "x__double", "y", "y__double")] == [
            "numeric",
            None,
            "bigint",
            "double precision",
        ]
        assert warehouse.rows("select x::text from bronze.shop__orders order by _id") == [(str(large),), ("0.5",)]
        assert warehouse.rows("select * from above order by 1") == [(1, None), (None, 0.5)]
        assert result.warnings == [
            "y keeps its columns y and y__double, with their values, as views name more than the first: public.above,"
            " public.older; to have one column, drop these views, rebuild again, and make them over y alone"
        ]
        assert warehouse.rows("select n from bronze.shop__orders__items order by _id") == [(1,), (0.5,), (2,)]
        assert warehouse.column_type("n__double", "shop__orders__items") is None
        assert warehouse.column_type("x__double", "shop__orders__history") is None
    told = dict(warehouse.rows("select field, action from ops.schema_changes where action like '%%takes all%%'"))
    assert told == {
        "x": "column x takes all values: x__double gone",
        "items[].n": "column n takes all values: n__double gone",
    }
    warehouse.execute("drop view higher; drop view above; drop view older")
    *_, result = rebuild_table(with_table(place, warehouse.table), place[1])
    assert result.warnings == []
    assert warehouse.rows("select y from bronze.shop__orders order by _id") == [(1.0,), (0.5,)]
    assert [warehouse.column_type("y__double", f"shop__orders{end}") for end in ("", "__history")] == [None, None]
    monkeypatch.setattr(ddl, "WIDEN_MOST_BYTES", 0)
    warehouse.load([{"_id": 3, "x": 7, "y": Decimal128("0.1"), "z": 1, "items": []}], mode="cdc")
    warehouse.load([{"_id": 4, "y": 2, "z": 0.5, "items": []}], mode="cdc")
    assert warehouse.rows("select y, y__decimal::text, z, z__double from bronze.shop__orders where z__double > 0") == [
        (2.0, None, None, 0.5)
    ]
    assert warehouse.value("select y__decimal::text from bronze.shop__orders where _id = '3'") == "0.1"


def test_rebuild_brings_in_whole_numbers_that_a_double_could_not_tell(warehouse: Warehouse, place: Any) -> None:
    large = 2**53 + 1
    # Allowed no wider column once, and the row is no longer there: only the replayed batch shows the number.
    warehouse.table = MongoTable(on_drift=OnDrift(new="rescue"))
    warehouse.load([{"_id": 1, "x": -0.0, "y": 0.5}], mode="full", scope=SNAPSHOT)
    warehouse.load([{"_id": 2, "x": Int64(large)}, {"_id": 3, "x": 7, "y": 0.1}], mode="cdc")
    assert warehouse.value("select _rescued from bronze.shop__orders where _id = '2'") == {"x": large}
    warehouse.load([{"_id": 2, "x": 4}], mode="cdc")
    assert [result.status for result in rebuild_table(with_table(place, MongoTable()), place[1])] == ["loaded"] * 3
    assert warehouse.rows("select x::text, y from bronze.shop__orders order by _id") == [
        ("0", 0.5),
        ("4", None),
        ("7", 0.1),
    ]
    assert [warehouse.column_type(name) for name in ("x", "x__decimal", "y")] == ["numeric", None, "double precision"]


def test_rebuild_keeps_both_columns_where_a_materialized_view_stands_against_new_types(
    warehouse: Warehouse, place: Any
) -> None:
    warehouse.table = MongoTable(on_drift=OnDrift(new="rescue"))
    warehouse.load([{"_id": 1, "x": 1}], mode="full", scope=SNAPSHOT)
    warehouse.execute("create materialized view above as select x from bronze.shop__orders")
    warehouse.load([{"_id": 2, "x": 0.5}], mode="cdc")
    query = "select x, x__double, _rescued from bronze.shop__orders order by _id"
    assert warehouse.value("select _rescued from bronze.shop__orders where _id = '2'") == {"x": 0.5}
    rows = [(1, None, None), (None, 0.5, None)]
    for _ in range(2):
        *_, result = rebuild_table(with_table(place, MongoTable()), place[1])
        assert warehouse.rows(query) == rows
        assert result.warnings == [f"all columns keep their types: {ddl.ABOVE}"]
    # What the first rebuild could do for the value that was rescued is news, and told once.
    assert [change for change in warehouse.changes() if change[1] == "widened"] == [("x", "widened")]


def test_rebuild_refuses_when_a_batch_is_missing(warehouse: Warehouse, place: Any) -> None:
    warehouse.load([{"_id": 1}], mode="full", scope=SNAPSHOT)
    middle = warehouse.land([{"_id": 2}], mode="cdc")
    warehouse.load_landed(middle)
    warehouse.load([{"_id": 3}], mode="cdc")
    warehouse.landing.delete("shop", "orders", middle.batch_id)
    with pytest.raises(LoadError, match="no longer there"):
        rebuild_table(*place)
    assert warehouse.value("select count(*) from bronze.shop__orders") == 3
