"""Names of columns, and values that have none."""

from __future__ import annotations

from tests.fixtures.bronze import Warehouse


def test_names_are_valid_distinct_and_stable(warehouse: Warehouse) -> None:
    long = "x" * 80
    document = {
        "_id": 1,
        "Total": 1,
        "total": 2,
        "_hash": 3,
        "ctid": 4,
        "": 5,
        long: 6,
        long + "y": 7,
        "a": {"b": 8},
        "a__b": 9,
        "dotted.key": 10,
        'quo"te': 11,
        "ünï": 12,
        "_batch_id": "mine",
        "select": 13,
        "user": 14,
    }
    warehouse.load([document])
    names = dict(warehouse.rows("select path, column_name from ops.columns"))
    assert len({name.lower() for name in names.values()}) == len(names) == 15
    assert all(len(name.encode()) <= 63 for name in names.values())
    assert (names["total"], names["_hash"], names["ctid"], names["_batch_id"]) == (
        "total",
        "_hash_",
        "ctid_",
        "_batch_id_",
    )
    values = warehouse.rows("select to_jsonb(t) from bronze.shop__orders t")[0][0]
    expected = {
        "Total": 1,
        "total": 2,
        "_hash": 3,
        "ctid": 4,
        "": 5,
        long: 6,
        long + "y": 7,
        "a.b": 8,
        "a__b": 9,
        "dotted\\.key": 10,
        'quo"te': 11,
        "ünï": 12,
        "_batch_id": "mine",
        "select": 13,
        "user": 14,
    }
    assert {path: values[name] for path, name in names.items()} == expected
    warehouse.load([{"_id": 2, "TOTAL": 1}])
    assert dict(warehouse.rows("select path, column_name from ops.columns")) | names == dict(
        warehouse.rows("select path, column_name from ops.columns")
    )


def test_rescued_and_sanitised_values_are_counted_by_field(warehouse: Warehouse) -> None:
    warehouse.load([{"_id": 1, "a": 1, "b": "x"}])
    warehouse.load([{"_id": 2, "a": "text", "b": "nul\x00"}, {"_id": 3, "a": "text", "b": "y"}])
    query = "select path, rescued, sanitised, present from ops.field_statistics where batch_id like '%02' order by 1"
    assert warehouse.rows(query) == [("_id", 0, 0, 2), ("a", 2, 0, 2), ("b", 0, 1, 2)]


def test_columns_beyond_the_most_live_in_rescued(warehouse: Warehouse) -> None:
    wide = {"_id": 1} | {f"f{number:04d}": number for number in range(1_700)}
    result = warehouse.load([wide])
    assert result.rescued == 1
    [(values, rescued)] = warehouse.rows("select to_jsonb(t), _rescued from bronze.shop__orders t")
    read = {name: rescued[name] if name in rescued else values[name] for name in wide if name != "_id"}
    assert read == {name: value for name, value in wide.items() if name != "_id"}
    assert values["f0000"] == 0 and len(rescued) >= 300
    narrow = warehouse.load([{"_id": 2, "f1399": 5, "f1650": 6}])
    assert narrow.rescued == 1
    assert warehouse.rows("select f1399, _rescued from bronze.shop__orders where _id = '2'") == [(5, {"f1650": 6})]
