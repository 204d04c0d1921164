"""What the ledger tells of fields that changed otherwise than in type or name: null, values, units, shapes."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import bson
import polars as pl
import psycopg

from monitoring import log
from tasks.bronze.verify import verify
from tasks.drift.kinds import KINDS
from tasks.landing.decoder import make_decoder
from tasks.mongodb.config import MongoTable
from tests.fixtures.bronze import Warehouse


def _order(number: int, **fields: Any) -> dict[str, Any]:
    return {
        "_id": number,
        "state": ("open", "paid")[number % 2],
        "version": 1,
        "total": 10.5 + number % 40,
        "note": "x" * (number % 7),
        "address": {"city": f"c{number}", "zip": "1"},
        "customer_id": number,
        **fields,
    }


def _one(frame: pl.DataFrame) -> Iterator[pl.DataFrame]:
    yield frame


def _told(warehouse: Warehouse) -> set[tuple[str, str]]:
    found = warehouse.rows("select field, change from ops.schema_changes where change <> 'appeared'")
    return {(field, change) for field, change in found}


def test_each_kind_is_told_once_with_its_evidence(warehouse: Warehouse) -> None:
    warehouse.load([_order(number) for number in range(400)])
    warehouse.load([_order(number) for number in range(400, 420)])
    assert _told(warehouse) == set()
    changed = [
        _order(
            number,
            state="lost" if number % 5 == 0 else "open",
            version=2,
            total=100 * (10.5 + number % 40),
            note=None,
            address=f"c{number}, 1",
            customer_id=f"{number}",
        )
        for number in range(420, 460)
    ]
    del changed[3]["state"], changed[5]["state"], changed[7]["state"], changed[9]["state"], changed[11]["state"]
    batch = warehouse.load(changed)
    wanted = {
        *{("state", "new_value"), ("state", "became_optional"), ("version", "constant_changed")},
        *{("total", "unit_changed"), ("note", "became_null"), ("address", "became_flat")},
        *{("customer_id", "id_type_changed"), ("customer_id", "type_conflict")},
        *{("address.city", "vanished"), ("address.zip", "vanished")},
    }
    assert _told(warehouse) == wanted
    assert {change for _, change in wanted} <= set(KINDS)
    assert batch.schema_changes == len(wanted) + 1, "and the column of the flat address appeared"
    [evidence] = warehouse.rows("select evidence from ops.schema_changes where change = 'new_value'")[0]
    assert (evidence["values"], evidence["new"], evidence["count"]) == (['"open"', '"paid"'], ['"lost"'], 7)
    [factor] = warehouse.rows("select evidence->'factor' from ops.schema_changes where change = 'unit_changed'")[0]
    assert 80 < factor < 120
    assert warehouse.rows(
        "select old_type, new_type, evidence->'types'->>'string' from ops.schema_changes where change = 'became_flat'"
    ) == [("document", "value", "40")]
    before = len(warehouse.changes())
    again = warehouse.load(changed[:30])
    assert warehouse.changes()[before:] == [], "what is open is not told again"
    with psycopg.connect(warehouse.url, autocommit=True) as connection:
        assert log.rescued(connection, [again.batch_id], 3) == [
            "shop.orders, customer_id: 30 string value(s) in a column of bigint"
        ]
    closed = "resolved_at = now(), resolved_by = 'ann', resolved_why = 'seen'"
    warehouse.execute(f"update ops.schema_changes set {closed} where change = 'type_conflict'")
    warehouse.load(changed[30:])
    assert warehouse.changes()[before:] == [("customer_id", "type_conflict")]


def test_what_came_late_or_again_changes_nothing_that_is_usual(warehouse: Warehouse) -> None:
    warehouse.load([_order(number) for number in range(400)])
    older = warehouse.land([_order(number, version=2) for number in range(400, 440)])
    newer = warehouse.land([_order(number) for number in range(440, 480)])
    warehouse.load_landed(newer)
    usual = warehouse.rows("select * from ops.usual_fields")
    assert warehouse.load_landed(older).status == "loaded"
    assert warehouse.load_landed(newer).status == "already_loaded"
    assert warehouse.rows("select * from ops.usual_fields") == usual
    assert ("version", "constant_changed") not in _told(warehouse)


def test_fields_of_elements_are_told_under_the_name_of_their_array(warehouse: Warehouse) -> None:
    warehouse.table = MongoTable(arrays={"items": "table"})
    warehouse.load([_order(number, items=[{"sku": "a", "net": 1}, {"sku": "b", "net": 1}]) for number in range(100)])
    warehouse.load([_order(number, items=[{"sku": "c"}, {"sku": "a", "net": 2}]) for number in range(100, 150)])
    assert {("items[].sku", "new_value"), ("items[].net", "became_optional"), ("items[].net", "constant_changed")} == {
        *_told(warehouse)
    }


def test_a_key_no_json_of_postgres_holds_is_kept_under_its_own_name(warehouse: Warehouse) -> None:
    for _ in range(2):
        warehouse.load([{"_id": number, "a.b\\": {"c": 1}} for number in range(20)])
    [usual] = warehouse.rows("select fields from ops.usual_fields")[0]
    assert {"a\\.b\\\\", "a\\.b\\\\.c"} <= set(usual)
    assert _told(warehouse) == set()


def test_a_document_in_the_place_of_an_array_reaches_its_child_table_and_is_told(
    warehouse: Warehouse,
) -> None:
    warehouse.table = MongoTable(arrays={"refunds": "table", "refunds.lines": "table"})
    before = [{"_id": n, "refunds": [{"net": n, "lines": [{"q": 1}]}, {"net": -n}]} for n in range(20)]
    warehouse.load(before, mode="full", scope={"type": "snapshot"})
    after = [{"_id": n, "refunds": {"net": n, "lines": {"q": 2}}} for n in range(3)] + before[3:]
    warehouse.load(after, mode="full", scope={"type": "snapshot"})
    child = "bronze.shop__orders__refunds"
    assert warehouse.rows(
        f"select _id, _root_id, _parent_id, _position, net from {child}"
        " where _deleted_at is null and _root_id in ('0', '2') order by _id"
    ) == [("0:-", "0", "0", 0, 0), ("2:-", "2", "2", 0, 2)]
    assert warehouse.rows(
        f"select l._id, r.net, l.q from {child}__lines l join {child} r on r._id = l._parent_id"
        " where l._deleted_at is null and l._root_id in ('2', '3') order by l._id"
    ) == [("2:-.-", 2, 2), ("3:0.0", 3, 1)]
    assert _told(warehouse) == {("refunds", "became_single"), ("refunds[].lines", "became_single")}
    assert warehouse.column_type("refunds__net") is None, "no column of the table itself"
    decoder = make_decoder(children=warehouse.table.child_paths, seed=warehouse.table.fingerprint())
    decoder.push(b"".join(map(bson.encode, after)))
    tables = decoder.flush().tables
    with psycopg.connect(warehouse.url) as connection:
        frames = {path: partial(_one, frame) for path, frame in tables.items()}
        compared = verify(connection, *warehouse.key, frames.pop(""), frames)
    assert compared.equal and compared.source_rows == 20
    warehouse.load(before, mode="full", scope={"type": "snapshot"})
    assert warehouse.value(f"select count(*) from {child} where _deleted_at is null and _id like '%-'") == 0
