"""`on_drift` per field: the nearest word counts, and a frozen document is a reject that comes in once it is allowed."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.bronze.rejects import Replayed, replay
from tasks.errors import LoadError
from tasks.mongodb.config import MongoSource, MongoTable
from tasks.settings import Settings
from tasks.sources import OnDrift, TableRef
from tests.fixtures.bronze import Warehouse

FIRST = [{"_id": 0, "total": 1, "status": "new", "customer": {"city": "x"}, "items": [{"qty": 1}]}]


def with_policy(warehouse: Warehouse, **policy: Any) -> tuple[TableRef, Settings]:
    warehouse.table = MongoTable.model_validate({"arrays": {"items": "table"}, "on_drift": policy})
    source = MongoSource.model_validate(
        {"kind": "mongodb", "uri": "mongodb://nowhere", "database": "shop", "tables": {"orders": {}}}
    )
    settings = Settings.model_validate({"url": warehouse.url, "landing": warehouse.landing.root})
    return TableRef("shop", "orders", source, warehouse.table), settings


def test_the_nearest_word_counts() -> None:
    policy = OnDrift.model_validate(
        {"new": "rescue", "fields": {"a": {"new": "fail", "type": "freeze"}, "a.b": {"new": "add"}}}
    )
    assert [policy.of("new", path) for path in ("x", "a", "a.c", "a.b", "a.b.c", "ab")] == [
        *("rescue", "fail", "fail", "add", "add", "rescue")
    ]
    assert [policy.of("type", path) for path in ("a.b", "x")] == ["freeze", "rescue"]
    assert policy.may("type", "freeze") and not policy.may("type", "fail")


def test_each_field_goes_its_own_way(warehouse: Warehouse) -> None:
    with_policy(warehouse, new="rescue", fields={"customer": {"new": "add"}, "secret": {"new": "fail"}})
    warehouse.load(FIRST)
    warehouse.load([{"_id": 1, "note": "kept", "customer": {"zip": "1"}}])
    assert warehouse.rows("select customer__zip, _rescued from bronze.shop__orders where _id = '1'") == [
        ("1", {"note": "kept"})
    ]
    with pytest.raises(LoadError, match=r"fields appeared: secret .*on_drift\.new"):
        warehouse.load([{"_id": 2, "secret": 1, "note": "x"}])


def test_a_kind_that_one_field_may_not_have_fails_and_that_of_another_is_rescued(warehouse: Warehouse) -> None:
    with_policy(warehouse, fields={"total": {"type": "fail"}})
    warehouse.load(FIRST)
    assert warehouse.load([{"_id": 1, "status": 5}]).rescued == 1
    with pytest.raises(LoadError, match=r"do not fit .*total.*on_drift\.type"):
        warehouse.load([{"_id": 2, "total": "odd"}])


def test_a_field_that_may_not_vanish_fails_and_others_keep_their_column(warehouse: Warehouse) -> None:
    with_policy(warehouse, fields={"total": {"missing": "fail"}})
    full = [{"_id": number, "total": 1, "status": "new"} for number in range(20)]
    warehouse.load(full)
    warehouse.load([{"_id": number, "total": 1} for number in range(20)])
    with pytest.raises(LoadError, match=r"fields vanished: total"):
        warehouse.load([{"_id": number, "status": "new"} for number in range(20)])


@pytest.mark.parametrize("scope", [None, {"type": "snapshot"}], ids=["merged", "snapshot"])
def test_frozen_documents_are_rejects_and_come_in_once_they_are_allowed(
    warehouse: Warehouse, scope: dict[str, Any] | None
) -> None:
    options: dict[str, Any] = {"mode": "full" if scope else "incremental", **({"scope": scope} if scope else {})}
    with_policy(warehouse, new="freeze", fields={"total": {"type": "freeze"}, "customer": {"new": "add"}})
    warehouse.load([*FIRST, {"_id": 1, "total": 1, "items": [{"qty": 1}]}], **options)
    batch = [
        *FIRST,
        {"_id": 1, "total": "odd", "items": [{"qty": 9}]},
        {"_id": 2, "total": 2, "coupon": "x", "items": [{"qty": 2}]},
        {"_id": 3, "total": 0.5, "status": 5, "items": [{"qty": 3, "size": "L"}]},
        {"_id": 4, "total": 0.5, "status": 5, "customer": {"zip": "1"}, "items": [{"qty": 4}]},
    ]
    result = warehouse.load(batch, **options)
    assert (result.inserted, result.rejected, result.unchanged) == (1, 3, 1)
    assert warehouse.rows("select document_id, reason from ops.rejects order by document_id") == [
        ("1", "on_drift is freeze: total is string"),
        ("2", "on_drift is freeze: coupon is string"),
        ("3", "on_drift is freeze: items[].size is string"),
    ]
    # Its child rows are nowhere else once the landing has gone.
    kept = dict(warehouse.rows("select document_id, document::jsonb->'items' from ops.rejects"))
    found = {key: [(item["qty"], item.get("size")) for item in items] for key, items in kept.items()}
    assert found == {"1": [(9, None)], "2": [(2, None)], "3": [(3, "L")]}
    held = "select _id, total::text, customer__zip, _deleted_at is null from bronze.shop__orders order by _id"
    assert warehouse.rows(held) == [("0", "1", None, True), ("1", "1", None, True), ("4", "0.5", "1", True)]
    items = "select _root_id, qty from bronze.shop__orders__items where _deleted_at is null order by 1"
    assert warehouse.rows(items) == [("0", 1), ("1", 1), ("4", 4)]
    assert warehouse.column_type("coupon") is None

    assert replay(*with_policy(warehouse, new="freeze", fields={"total": {"type": "freeze"}})) == Replayed(0, 0, 3)
    done = replay(*with_policy(warehouse))
    assert (done.loaded, done.refused) == (3, 0)
    assert warehouse.rows("select _id, coupon, _rescued from bronze.shop__orders where _id in ('1', '2')") == [
        ("1", None, {"total": "odd"}),
        ("2", "x", None),
    ]
    assert warehouse.rows(items) == [("0", 1), ("1", 9), ("2", 2), ("3", 3), ("4", 4)]
    assert warehouse.rows("select size from bronze.shop__orders__items where _root_id = '3'") == [("L",)]
