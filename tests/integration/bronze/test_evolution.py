"""Drift: columns that widen under views, names, spilled columns, renames, vanished fields, and their ledger."""

from __future__ import annotations

import threading
from typing import Any

import psycopg
import pytest
from bson.decimal128 import Decimal128
from bson.int64 import Int64

from tasks.bronze import ddl
from tasks.errors import LoadError
from tasks.sources import MongoTable, OnDrift
from tests.integration.bronze.conftest import Warehouse


def test_a_column_widens_in_place_under_views_that_stay_as_they_were(warehouse: Warehouse) -> None:
    warehouse.load([{"_id": 1, "total": 5}, {"_id": 2, "total": 7}])
    for statement in (
        "create role reader_of_views",
        "create view low as select _id, total from bronze.shop__orders",
        "create view high with (security_barrier=true) as select sum(total) as total from low",
        "comment on view high is 'it''s the sum'",
        "comment on column low.total is 'as ordered'",
        "grant select on high to reader_of_views",
        "grant select (total) on low to reader_of_views with grant option",
    ):
        warehouse.execute(statement)
    described = """
        select c.relname, c.relacl::text, c.reloptions, obj_description(c.oid), a.attacl::text,
               col_description(c.oid, a.attnum)
        from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attname = 'total'
        where c.relkind = 'v' and c.relnamespace = 'public'::regnamespace order by 1
    """
    before = warehouse.rows(described)
    try:
        warehouse.load([{"_id": 3, "total": 0.5}])
        assert warehouse.column_type("total") == "double precision"
        assert warehouse.rows("select total from high") == [(12.5,)]
        assert warehouse.rows(described) == before
        warehouse.load([{"_id": 4, "total": Decimal128("0.1")}])
        assert warehouse.column_type("total") == "numeric"
        assert str(warehouse.value("select total from high")) == "12.6"
        assert warehouse.rows(
            "select field, change, old_type, new_type from ops.schema_changes where change = 'widened'"
        ) == [
            ("total", "widened", "bigint", "double precision"),
            ("total", "widened", "double precision", "numeric"),
        ]
    finally:
        for statement in ("drop view high", "drop view low", "drop role reader_of_views"):
            warehouse.execute(statement)


def test_whole_numbers_beyond_doubles_widen_to_numeric(warehouse: Warehouse) -> None:
    warehouse.load([{"_id": 1, "n": Int64(2**53 + 1)}])
    warehouse.load([{"_id": 2, "n": 0.5}])
    assert warehouse.column_type("n") == "numeric"
    assert [str(row[0]) for row in warehouse.rows("select n from bronze.shop__orders order by _id")] == [
        "9007199254740993",
        "0.5",
    ]


def test_what_cannot_be_widened_is_rescued_and_the_reason_is_told(warehouse: Warehouse) -> None:
    warehouse.load([{"_id": 1, "n": 5}])
    warehouse.execute("create materialized view fixed as select n from bronze.shop__orders")
    result = warehouse.load([{"_id": 2, "n": 0.5}])
    assert (warehouse.column_type("n"), result.rescued) == ("bigint", 1)
    assert warehouse.rows("select n, _rescued from bronze.shop__orders where _id = '2'") == [(None, {"n": 0.5})]
    assert "materialized view" in warehouse.value(
        "select action from ops.schema_changes where change = 'type_conflict'"
    )


def test_a_refused_widening_found_late_is_rescued_too(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    warehouse.load([{"_id": 1, "n": 5}])
    monkeypatch.setattr(ddl, "why_not_widen", lambda *_: None)
    warehouse.execute("create table parted (n bigint)")
    warehouse.execute("alter table bronze.shop__orders add constraint c check (n & 1 >= 0)")
    result = warehouse.load([{"_id": 2, "n": 0.5}])
    assert (warehouse.column_type("n"), result.rescued) == ("bigint", 1)


def test_the_same_batch_gives_the_same_types_whatever_the_order(warehouse: Warehouse, another: Any) -> None:
    documents: list[dict[str, Any]] = [
        {"_id": 1, "x": 1},
        {"_id": 2, "x": "a"},
        {"_id": 3, "x": "b"},
        {"_id": 4, "x": 1.5},
        {"_id": 5, "x": "c"},
    ]
    other = another("shop", "other")
    warehouse.load(documents)
    other.load(documents[::-1])
    assert warehouse.column_type("x") == other.column_type("x", "shop__other") == "text"
    query = "select _id, x, _rescued from bronze.{} order by 1"
    assert warehouse.rows(query.format("shop__orders")) == other.rows(query.format("shop__other"))


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
    }
    warehouse.load([document])
    names = dict(warehouse.rows("select path, column_name from ops.columns"))
    assert len({name.lower() for name in names.values()}) == len(names) == 13
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


def test_a_rename_is_suggested_with_its_evidence_and_the_dbt_line(warehouse: Warehouse) -> None:
    old = [{"_id": n, "zip": f"{n:05d}", "state": "open"} for n in range(50)]
    warehouse.load(old, mode="full", scope={"type": "snapshot"})
    new = [{"_id": n, "postcode": f"{n:05d}", "state": "open", "status": "open"} for n in range(50)]
    warehouse.load(new, mode="full", scope={"type": "snapshot"})
    [(field, evidence)] = warehouse.rows("select field, evidence from ops.schema_changes where change = 'renamed'")
    assert (field, evidence["renamed_from"], evidence["rows_compared"], evidence["share"]) == (
        "postcode",
        "zip",
        50,
        1.0,
    )
    assert evidence["dbt"] == 'coalesce("postcode", "zip") as "postcode"'
    assert ("zip", "vanished") in warehouse.changes()
    warehouse.load(old, mode="full", scope={"type": "snapshot"})
    assert ("zip", "reappeared") in warehouse.changes()


def test_a_rare_field_that_is_absent_by_chance_is_not_called_vanished(warehouse: Warehouse) -> None:
    warehouse.load([{"_id": n, "a": 1} | ({"rare": 1} if n == 0 else {}) for n in range(100)])
    warehouse.load([{"_id": n, "a": 2} for n in range(100)])
    assert ("rare", "vanished") not in warehouse.changes()
    warehouse.load([{"_id": n, "b": 2} for n in range(100)])
    assert ("a", "vanished") in warehouse.changes()


@pytest.mark.parametrize(
    ("policy", "document"),
    [
        (OnDrift(new="fail"), {"_id": 2, "a": 1, "surprise": 1}),
        (OnDrift(type="fail"), {"_id": 2, "a": "text"}),
        (OnDrift(missing="fail"), {"_id": 2, "b": 1}),
    ],
)
def test_policies_that_fail_load_nothing(warehouse: Warehouse, policy: OnDrift, document: dict[str, Any]) -> None:
    warehouse.table = MongoTable(on_drift=policy)
    warehouse.load([{"_id": n, "a": n, "b": n} for n in range(1, 50)])
    before = warehouse.rows("select * from bronze.shop__orders order by _id")
    with pytest.raises(LoadError, match=r"on_drift\."):
        warehouse.load([document])
    assert warehouse.rows("select * from bronze.shop__orders order by _id") == before
    assert warehouse.value("select version from ops.checkpoints") == 1


def test_new_fields_may_be_rescued_by_policy(warehouse: Warehouse) -> None:
    warehouse.table = MongoTable(on_drift=OnDrift(new="rescue"))
    warehouse.load([{"_id": 1, "a": 1}])
    warehouse.load([{"_id": 2, "a": 1, "b": {"c": [1]}}])
    assert warehouse.column_type("b__c") is None
    assert warehouse.rows("select _rescued from bronze.shop__orders where _id = '2'") == [({"b.c": [1]},)]


def test_a_reader_delays_the_change_of_columns_and_is_not_blocked(warehouse: Warehouse) -> None:
    warehouse.load([{"_id": 1, "a": 1}])
    manifest = warehouse.land([{"_id": 2, "a": 1, "b": 1}])
    with psycopg.connect(warehouse.url) as reader:
        reader.execute("select count(*) from bronze.shop__orders")
        loading = threading.Thread(target=warehouse.load_landed, args=(manifest,))
        loading.start()
        waiting = "select count(*) from pg_locks where not granted and relation = 'bronze.shop__orders'::regclass"
        while warehouse.value(waiting) == 0 and loading.is_alive():
            threading.Event().wait(0.01)
        # A second reader waits no longer than the short lock timeout of one attempt.
        with psycopg.connect(warehouse.url, options="-c statement_timeout=4000") as second:
            assert second.execute("select count(*) from bronze.shop__orders").fetchone() == (1,)
        reader.rollback()
        loading.join()
    assert warehouse.column_type("b") == "bigint"
