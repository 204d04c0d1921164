"""Batches that wait: loaded in order, once, and none held up by what a later one holds."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.bronze.pending import load_pending
from tasks.errors import LoadError
from tasks.mongodb.config import MongoTable
from tasks.sources import OnDrift
from tests.fixtures.bronze import Warehouse, with_table

SNAPSHOT = {"type": "snapshot"}


def test_pending_batches_load_in_order_once(warehouse: Warehouse, place: Any) -> None:
    for value in (1, 2, 3):
        warehouse.land([{"_id": 1, "v": value}])
    assert [result.status for result in load_pending(*place)] == ["loaded"] * 3
    assert warehouse.rows("select v from bronze.shop__orders") == [(3,)]
    assert load_pending(*place) == []


def test_a_mended_source_that_was_read_whole_again_is_not_held_up_by_what_could_not_be_loaded(
    warehouse: Warehouse, place: Any
) -> None:
    warehouse.table = MongoTable(on_drift=OnDrift(type="fail"))
    ref = with_table(place, warehouse.table)
    full = {"mode": "full", "scope": SNAPSHOT}
    warehouse.load([{"_id": 1, "v": 1}], **full)
    bad = warehouse.land([{"_id": 1, "v": "odd"}], **full)
    with pytest.raises(LoadError, match=r"do not fit.*then run again"):
        load_pending(ref, place[1])
    mended = warehouse.land([{"_id": 1, "v": 2}], **full)
    assert [(result.batch_id, result.status) for result in load_pending(ref, place[1])] == [
        (mended.batch_id, "loaded"),
        (bad.batch_id, "superseded"),
    ]
    assert warehouse.rows("select v from bronze.shop__orders") == [(2,)]
    assert load_pending(ref, place[1]) == []


def test_what_could_not_be_loaded_and_no_later_batch_holds_holds_up_those_after_it(
    warehouse: Warehouse, place: Any
) -> None:
    warehouse.table = MongoTable(on_drift=OnDrift(new="fail"))
    ref = with_table(place, warehouse.table)
    warehouse.load([{"_id": 1}])
    warehouse.land([{"_id": 2, "new": 1}])
    warehouse.land([{"_id": 3}])
    with pytest.raises(LoadError, match=r"fields appeared.*`warehouse reset shop\.orders`"):
        load_pending(ref, place[1])
    assert warehouse.rows("select _id from bronze.shop__orders") == [("1",)]
