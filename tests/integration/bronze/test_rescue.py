"""Rescued values move into their columns as loading would have written them, once, and all others stay."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import psycopg
import pytest
from bson.binary import Binary, UuidRepresentation
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.objectid import ObjectId
from bson.regex import Regex
from bson.timestamp import Timestamp

from flows import cli
from tasks.bronze.postgres import ddl
from tasks.bronze.rescue import Moved, move_rescued
from tasks.mongodb.config import MongoSource, MongoTable
from tasks.settings import Settings
from tasks.sources import OnDrift, TableRef
from tests.fixtures.bronze import Warehouse

VALUES: dict[str, list[Any]] = {
    "whole": [0, -5, Int64(2**63 - 1), 10**16],
    "double": [0.1, -0.0, 1e16, 1e22, 5e-324, math.nan, math.inf, 1.0],
    "decimal": [Decimal128("12.50"), Decimal128("-0.00"), Decimal128("1E-6176"), Decimal128("NaN"), 7, 0.5],
    "text": ["", "x", "5", "a\x00b", "naïve", '{"a": 1}', ObjectId("0" * 24)],
    "flag": [True, False],
    "when": [datetime(2026, 1, 1, tzinfo=UTC), DatetimeMS(-(2**50)), DatetimeMS(2**62), DatetimeMS(5)],
    "key": [ObjectId("f" * 24)],
    "uuid": [Binary.from_uuid(UUID(int=7), UuidRepresentation.STANDARD)],
    "bytes": [b"", b"\x00\x01"],
    "json": [[1, 1.0, Decimal128("1.00")], ["a\x00"], [], [{"$date": 1}]],
    "odd": [Regex("a", "i"), Timestamp(5, 1)],
    "mixed": [1, "one", 2, {"x": 1}, [1], None],
}


def documents() -> list[dict[str, Any]]:
    found = [{name: value} for name, values in VALUES.items() for value in values]
    nested = [{"deep": {"a.b": 1, "p|q": {"r": "x"}}}, {"items": [{"qty": 1.5}, {"qty": "odd"}]}]
    return [{"_id": number, **document} for number, document in enumerate([*found, *nested], 1)]


def ref_of(warehouse: Warehouse, **table: Any) -> tuple[TableRef, Settings]:
    shape = {"arrays": {"items": "table"}, "history": True}
    warehouse.table = MongoTable.model_validate({**shape, **table})
    source = MongoSource.model_validate(
        {"kind": "mongodb", "uri": "mongodb://nowhere", "database": "shop", "tables": {"t": {}}}
    )
    settings = Settings.model_validate({"url": warehouse.url, "landing": warehouse.landing.root})
    return TableRef(*warehouse.key, source, warehouse.table), settings


def held(warehouse: Warehouse, suffix: str = "") -> list[dict[str, Any]]:
    """Return all rows of a relation without what tells batches and times, values as Postgres writes them."""
    ours = ("_batch_id", "_extracted_at", "_loaded_at", "_valid_from", "_valid_to", "_hash")
    relation = "__".join(warehouse.key) + suffix
    with psycopg.connect(warehouse.url, autocommit=True) as connection:
        connection.execute("set timezone = 'UTC'")
        found = connection.execute(f"select to_jsonb(t) from bronze.{relation} t order by _id".encode()).fetchall()
    return [{name: value for name, value in row[0].items() if name not in ours} for row in found]


def test_a_field_that_may_have_a_column_later_is_as_if_it_had_one_from_the_start(
    warehouse: Warehouse, another: Callable[..., Warehouse]
) -> None:
    other = another("shop", "others")
    first = [{"_id": 0, "items": [{"sku": "x"}]}]
    ref_of(other)
    ref_of(warehouse, on_drift={"new": "rescue"})
    for one in (warehouse, other):
        one.load(first)
        one.load(documents())
    rescue = ref_of(warehouse)
    before = warehouse.rows("select _id, _loaded_at from bronze.shop__orders where _id = '0'")
    done = move_rescued(*rescue)
    for suffix in ("", "__items", "__history"):
        assert held(warehouse, suffix) == held(other, suffix)
    assert {"whole", "items[].qty", "deep.a\\.b"} <= set(done.added)
    assert done.moved["flag"] == 4 and done.left["mixed"] > 0
    assert warehouse.rows("select _id, _loaded_at from bronze.shop__orders where _id = '0'") == before

    again = warehouse.rows("select _id, _loaded_at, _rescued from bronze.shop__orders order by _id")
    repeated = move_rescued(*rescue)
    assert (repeated.moved.total(), repeated.added, +repeated.left) == (0, [], +done.left)
    assert warehouse.rows("select _id, _loaded_at, _rescued from bronze.shop__orders order by _id") == again


def test_values_move_beside_a_column_after_it_got_a_wider_one(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ddl, "WIDEN_MOST_BYTES", 0)
    ref_of(warehouse, on_drift={"new": "rescue"})
    warehouse.load([{"_id": 1, "n": 5}])
    warehouse.load([{"_id": 2, "n": Decimal128("0.10")}, {"_id": 3, "n": "text"}, {"_id": 4, "n": 1e16}])
    assert warehouse.value("select count(*) from bronze.shop__orders where _rescued is not null") == 3
    rescue = ref_of(warehouse)
    assert move_rescued(*rescue) == Moved(moved=Counter(n=2), left=Counter(n=4))
    warehouse.load([{"_id": 5, "n": Decimal128("7.5")}])
    done = move_rescued(*rescue)
    assert (done.moved["n"], done.left["n"]) == (2, 2)
    assert warehouse.rows("select n, n__decimal::text, _rescued from bronze.shop__orders order by _id") == [
        (5, None, None),
        (None, "0.10", None),
        (None, None, {"n": "text"}),
        (10**16, None, None),
        (None, "7.5", None),
    ]


def test_a_row_that_no_page_could_hold_stays_and_the_others_move(warehouse: Warehouse) -> None:
    ref_of(warehouse, on_drift={"new": "rescue"}, history=False)
    names = [f"c{number}" for number in range(500)]
    warehouse.load([{"_id": 0, **dict.fromkeys(names, "x" * 30)}])
    warehouse.load([{"_id": 1, "late": "short"}, {"_id": 2, **dict.fromkeys(names, 2**40), "late": "y" * 50}])
    before = held(warehouse)
    done = move_rescued(*ref_of(warehouse, history=False))
    after = {row["_id"]: row for row in held(warehouse)}
    assert (after["1"]["late"], after["1"]["_rescued"]) == ("short", None)
    rescued = {row["_id"]: row["_rescued"] for row in before}["2"]
    wanted = {**rescued, **{"late": "y" * 50}}
    known = {**after["2"], **(after["2"]["_rescued"] or {})}
    assert {name: known[name] for name in wanted} == wanted
    assert done.moved["late"] >= 1 and done.moved["late"] + done.left["late"] == 2


def test_the_command_says_what_moved(
    warehouse: Warehouse, tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tasks.settings import get_settings

    warehouse.table = MongoTable(on_drift=OnDrift(new="rescue"))
    warehouse.load([{"_id": 1}])
    warehouse.load([{"_id": 2, "note": "x"}])
    source = "    kind: mongodb\n    uri: mongodb://nowhere\n    database: shop\n    tables:\n      orders: {}\n"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sources.yaml").write_text(f"sources:\n  shop:\n{source}")
    monkeypatch.setenv("WAREHOUSE_URL", warehouse.url)
    get_settings.cache_clear()
    assert cli.invoke(["rescue", "shop.orders"]) == cli.DONE
    said = capsys.readouterr().out
    assert "columns added: note" in said and "1 value(s) moved, 0 left" in said
    assert warehouse.rows("select note from bronze.shop__orders order by _id") == [(None,), ("x",)]
    get_settings.cache_clear()
