"""What `on_drift` allows and refuses."""

from __future__ import annotations

from typing import Any

import bson
import pytest
from bson import ObjectId
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128
from bson.int64 import Int64

from tasks.bronze.postgres import ddl
from tasks.errors import LoadError
from tasks.mongodb.config import MongoTable
from tasks.sources import OnDrift
from tests.fixtures.bronze import Warehouse


@pytest.mark.parametrize(
    ("policy", "fails"),
    [(OnDrift(type="fail"), True), (OnDrift(new="rescue"), False), (OnDrift(new="fail"), False)],
)
def test_policies_against_change_allow_no_column_beside(
    warehouse: Warehouse, policy: OnDrift, fails: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ddl, "WIDEN_MOST_BYTES", 0)
    warehouse.table = MongoTable(on_drift=policy)
    warehouse.load([{"_id": 1, "n": 5}])
    if fails:
        with pytest.raises(LoadError, match=r"on_drift\.type"):
            warehouse.load([{"_id": 2, "n": 0.5}])
    else:
        assert warehouse.load([{"_id": 2, "n": 0.5}]).rescued == 1
        assert warehouse.rows("select n, _rescued from bronze.shop__orders where _id = '2'") == [(None, {"n": 0.5})]
        conflict = "select action from ops.schema_changes where change = 'type_conflict'"
        assert "too large to be rewritten" in warehouse.value(conflict)
    assert warehouse.column_type("n__double") is None


@pytest.mark.parametrize(
    ("policy", "document"),
    [
        (OnDrift(new="fail"), {"_id": 2, "a": 1, "b": 1, "c": 0.5, "surprise": 1}),
        (OnDrift(type="fail"), {"_id": 2, "a": "text", "b": 1, "c": 0.5, "surprise": 1}),
        (OnDrift(type="fail"), {"_id": 2, "a": 1, "b": 1, "c": Int64(2**53 + 1), "surprise": 1}),
        (OnDrift(type="fail"), {"_id": 2, "a": 1, "b": 1, "c": 0.5, "surprise": DatetimeMS(2**62)}),
        (OnDrift(missing="fail"), {"_id": 2, "b": 1, "c": 0.5, "surprise": 1}),
    ],
)
def test_policies_that_fail_change_no_row_and_no_column(
    warehouse: Warehouse, policy: OnDrift, document: dict[str, Any]
) -> None:
    warehouse.table = MongoTable(on_drift=policy)
    warehouse.load([{"_id": n, "a": n, "b": n, "c": 0.5} for n in range(1, 50)])
    asked = (
        "select * from bronze.shop__orders order by _id",
        "select attname, atttypid from pg_attribute where attrelid = 'bronze.shop__orders'::regclass order by attnum",
        "select * from ops.columns order by path",
        "select * from ops.schema_changes order by id",
    )
    before = [warehouse.rows(query) for query in asked]
    with pytest.raises(LoadError, match=r"on_drift\."):
        warehouse.load([document | {"_id": n} for n in range(2, 16)])
    assert [warehouse.rows(query) for query in asked] == before
    assert warehouse.value("select version from ops.checkpoints") == 1


@pytest.mark.usefixtures("encoder")
def test_values_that_are_in_rescued_alone_are_conflicts_and_those_in_another_form_are_not(
    warehouse: Warehouse,
) -> None:
    twice = bson.encode({"_id": 1, "j": [{"k": 1, "l": 2}]}).replace(b"\x10l\x00", b"\x10k\x00")
    documents = [
        twice,
        {"_id": 2, "n": 0.5, "d": DatetimeMS(0), "t": "a", "x": Decimal128("1")},
        {"_id": 3, "n": "odd", "d": DatetimeMS(2**62), "t": "a\x00", "x": Decimal128("-0")},
        {"_id": 4, "t": ObjectId("64b000000000000000000001")},
    ]
    warehouse.load(documents)
    query = "select field, old_type, new_type, action from ops.schema_changes where change = 'type_conflict' order by 1"
    assert warehouse.rows(query) == [
        ("d", "timestamp with time zone", "date", "1 values kept in _rescued"),
        ("j", "jsonb", "json", "1 values kept in _rescued"),
        ("n", "double precision", "string", "1 values kept in _rescued"),
    ]
    query = "select path, rescued, sanitised from ops.field_statistics where rescued + sanitised > 0 order by 1"
    assert warehouse.rows(query) == [("d", 1, 0), ("j", 1, 0), ("n", 1, 0), ("t", 0, 2), ("x", 0, 1)]
    warehouse.table = MongoTable(on_drift=OnDrift(type="fail"))
    for document in (twice, {"_id": 5, "n": Int64(2**53 + 1)}, {"_id": 5, "d": DatetimeMS(2**62)}):
        with pytest.raises(LoadError, match=r"1 values of kind \w+ do not fit .*on_drift\.type"):
            warehouse.load([document], mode="cdc")
    assert warehouse.load([{"_id": 5, "t": "a\x00", "x": Decimal128("-0")}], mode="cdc").rescued == 1


def test_misfits_accepted_before_the_policy_failed_on_them_do_not_stand_against_a_new_column(
    warehouse: Warehouse,
) -> None:
    snapshot = {"type": "snapshot"}
    documents: list[dict[str, Any]] = [{"_id": 1, "a": 1}, {"_id": 2, "a": 2}, {"_id": 3, "a": "text"}]
    warehouse.load(documents, mode="full", scope=snapshot)
    warehouse.table = MongoTable(on_drift=OnDrift(type="fail"))
    warehouse.load([documents[0] | {"b": 1}, *documents[1:]], mode="full", scope=snapshot)
    assert warehouse.rows("select _id, b from bronze.shop__orders where b is not null") == [("1", 1)]


def test_new_fields_may_be_rescued_by_policy(warehouse: Warehouse) -> None:
    warehouse.table = MongoTable(on_drift=OnDrift(new="rescue"))
    warehouse.load([{"_id": 1, "a": 1}])
    warehouse.load([{"_id": 2, "a": 1, "b": {"c": [1]}}])
    assert warehouse.column_type("b__c") is None
    assert warehouse.rows("select _rescued from bronze.shop__orders where _id = '2'") == [({"b.c": [1]},)]


def test_a_document_that_is_held_back_is_known_by_its_key_however_long(warehouse: Warehouse) -> None:
    key, day = "k" * 5_000, "2026-01-01"
    scope = {"type": "partition", "field": "day", "from": day, "to": day}
    warehouse.load([{"_id": key, "total": 1, "day": day}, {"_id": 1, "total": 1, "day": day}], scope=scope)
    warehouse.table = MongoTable.model_validate({"on_drift": {"type": "freeze"}})
    result = warehouse.load([{"_id": key, "total": "one", "day": day}, {"_id": 1, "total": 2, "day": day}], scope=scope)
    assert (result.rejected, result.updated, result.deleted) == (1, 1, 0)
