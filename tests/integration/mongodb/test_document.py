"""`document: true`: each document whole beside its columns, to the byte that the server sent."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import bson
import psycopg
import pytest
from bson import Decimal128, Int64, Regex, Timestamp
from pydantic import SecretStr

from tasks.bronze.pending import load_pending
from tasks.bronze.rejects import replay
from tasks.bronze.verify import verify_sample, verify_table
from tasks.settings import Settings
from tasks.sources import TableRef
from tests.fixtures.mongodb import Shop

# What columns cannot tell apart or hold otherwise: order, widths of numbers, empty and missing, imitations of types.
DOCUMENTS: list[dict[str, Any]] = [
    {"_id": 1, "z": 1, "a": {"y": Int64(1), "b": 1.0}, "items": [{"n": 1}, 5, {"value": 5}], "e": {}, "l": []},
    {"_id": 2, "a": {"b": 1.0, "y": 1}, "z": Decimal128("1.20"), "items": [], "l": None},
    {"_id": 3, "oid": [{"$oid": "64b000000000000000000001"}, bson.ObjectId("64b000000000000000000001")]},
    {"_id": 4, "text": "a\x00b", "nan": math.nan, "zero": -0.0, "when": Timestamp(1, 2), "like": Regex("a.*", "i")},
]


OID = "64b000000000000000000001"
# As the table of docs/exactness.md says: each pair is alike in columns.
ALIKE: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"items": []}, {}),
    ({"items": None}, {}),
    ({"items": [5]}, {"items": [{"value": 5}]}),
    ({"z": None}, {}),
    ({"a": {"b": None}}, {}),
    ({"n": 7}, {"n": Int64(7)}),
    ({"n": 7}, {"n": 7.0}),
    ({"d": Decimal128("1E+3")}, {"d": Decimal128("1000")}),
    ({"a": {"b": 1, "c": 2}}, {"a": {"c": 2, "b": 1}}),
    ({"l": [{"b": 1, "c": 2}]}, {"l": [{"c": 2, "b": 1}]}),
    ({"l": [{"$oid": OID}]}, {"l": [bson.ObjectId(OID)]}),
]
APART: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"a": {}}, {}),
    ({"d": Decimal128("1.20")}, {"d": Decimal128("1.2")}),
    ({"n": 0.0}, {"n": -0.0}),
    ({"l": []}, {"l": None}),
    ({"l": [1]}, {"l": [1.0]}),
]


class Kept:
    """A table of the shop through extract and load, and what its rows hold."""

    def __init__(self, shop: Shop, url: str, **config: Any) -> None:
        self.shop, self.url = shop, url
        self.ref: TableRef = shop.ref(**config)
        self.settings = Settings(url=SecretStr(url), landing=shop.landing.root)

    def run(self) -> None:
        self.shop.extract(self.ref)
        load_pending(self.ref, self.settings)

    def rows(self, query: str = "select _id, _document from bronze.shop__orders order by _id") -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url) as connection:
            return connection.execute(query.encode()).fetchall()

    def at_the_source(self) -> list[tuple[str, bytes]]:
        found = self.shop.database.get_collection("orders").find_raw_batches({}, sort={"_id": 1})
        raws = (raw for batch in found for raw in _split(batch))
        return [(str(bson.decode(raw)["_id"]), raw) for raw in raws]


def _split(batch: Any) -> Iterator[bytes]:
    while batch:
        size = int.from_bytes(batch[:4], "little")
        yield batch[:size]
        batch = batch[size:]


@pytest.mark.parametrize("mode", ["full", "cdc"])
def test_documents_are_kept_to_the_byte_and_follow_every_change(shop: Shop, postgres_url: str, mode: str) -> None:
    shop.database.orders.insert_many(DOCUMENTS)
    table = Kept(shop, postgres_url, mode=mode, document=True, arrays={"items": "table"}, history=True)
    table.run()
    assert table.rows() == table.at_the_source()
    shop.database.orders.replace_one({"_id": 1}, {"a": {"b": 1.0, "y": Int64(1)}, "z": 1})
    shop.database.orders.delete_one({"_id": 3})
    table.run()
    live = "select _id, _document from bronze.shop__orders where _deleted_at is null order by _id"
    assert table.rows(live) == table.at_the_source()
    assert table.rows(
        "select count(*) from bronze.shop__orders__history where _id = '1' and _document is not null"
    ) == [(2,)]
    assert verify_table(table.ref, table.settings).equal
    assert verify_sample(table.ref, table.settings, 100).equal
    table_of_bytes = "update bronze.shop__orders set _document = set_byte(_document, 8, 90) where _id = '2'"
    with psycopg.connect(postgres_url) as connection:
        connection.execute(table_of_bytes)
    for found in (verify_table(table.ref, table.settings), verify_sample(table.ref, table.settings, 100)):
        assert [one.id for one in found.differences] == ["2"]


def test_what_columns_cannot_tell_apart_is_what_the_docs_say_and_documents_tell_all_of_it(
    shop: Shop, postgres_url: str
) -> None:
    pairs = [*ALIKE, *APART]
    columns = {
        "_id": "columns",
        "a": {"b": 1, "c": 2},
        "n": 1.5,
        "d": Decimal128("1.5"),
        "z": 1,
        "l": [1],
        "items": [1],
    }
    sides = [{"_id": f"{n}{side}", **pair["lr".index(side)]} for n, pair in enumerate(pairs) for side in "lr"]
    shop.database.orders.insert_many([columns, *sides])
    table = Kept(shop, postgres_url, document=True, arrays={"items": "table"})
    table.run()
    query = """
        select _id, (select jsonb_agg(to_jsonb(c)->'value') from bronze.shop__orders__items c where _root_id = t._id),
               array[a__b, a__c, n, z]::text[], d::text, l::text, a::text, _rescued::text, _document
        from bronze.shop__orders t
    """
    rows = {row[0]: row[1:] for row in table.rows(query)}
    found = [rows[f"{n}l"][:-1] == rows[f"{n}r"][:-1] for n in range(len(pairs))]
    assert found == [True] * len(ALIKE) + [False] * len(APART)
    documents = {key: bson.decode(row[-1], bson.CodecOptions(document_class=bson.SON)) for key, row in rows.items()}
    assert [documents[f"{n}{side}"] for n in range(len(pairs)) for side in "lr"] == [bson.SON(one) for one in sides]


def test_a_sample_is_compared_with_its_elements(shop: Shop, postgres_url: str) -> None:
    shop.database.orders.insert_many([{"_id": n, "items": [{"n": n}] * (n % 3)} for n in range(9)])
    table = Kept(shop, postgres_url, arrays={"items": "table"}, transforms=[{"cast": {"items.n": "string"}}])
    table.run()
    assert verify_sample(table.ref, table.settings, 100).equal
    with psycopg.connect(postgres_url) as connection:
        connection.execute("update bronze.shop__orders__items set n = '0' where _id = '4:0'")
        connection.execute("update bronze.shop__orders__items set _id = '0:0', _root_id = '0' where _id = '8:1'")
    assert {one.id: one.why.split(";")[0] for one in verify_sample(table.ref, table.settings, 100).differences} == {
        "4:0": 'element of items: values differ: n: source "4", bronze "0"',
        "8:1": "element of items: not in bronze",
        "0:0": "element of items: not at the source",
    }


@pytest.mark.parametrize("new", ["add", "rescue", "fail"])
def test_a_table_that_is_loaded_can_begin_and_end_to_keep_documents(shop: Shop, postgres_url: str, new: str) -> None:
    shop.database.orders.insert_many([*DOCUMENTS, {"_id": 9, "_document": "a field of that name"}])
    Kept(shop, postgres_url, on_drift={"new": new, "missing": "fail"}).run()
    keeping = Kept(shop, postgres_url, document=True, on_drift={"new": new, "missing": "fail"})
    keeping.run()
    assert keeping.rows() == keeping.at_the_source()
    assert keeping.rows("select _document_ from bronze.shop__orders where _id = '9'") == [("a field of that name",)]
    ledger = (
        "select field, change, action from ops.schema_changes where batch_id = (select max(batch_id) from ops.batches)"
    )
    assert keeping.rows(ledger) == [("_document", "appeared", "column _document added")]
    Kept(shop, postgres_url, on_drift={"new": new, "missing": "fail"}).run()
    assert keeping.rows("select count(_document) from bronze.shop__orders") == [(0,)]


def test_a_replayed_reject_has_its_document(shop: Shop, postgres_url: str) -> None:
    shop.database.orders.insert_many(DOCUMENTS)
    table = Kept(shop, postgres_url, document=True)
    table.run()
    raw = bson.encode({"_id": "kept", "a": 1})
    with psycopg.connect(postgres_url) as connection:
        connection.execute(
            "insert into ops.rejects (source, table_name, batch_id, stage, reason, bytes) "
            "select 'shop', 'orders', max(batch_id), 'extract', 'by hand', %s from ops.batches",
            [raw],
        )
    assert replay(table.ref, table.settings, []).loaded == 1
    assert table.rows("select _document from bronze.shop__orders where _id = 'kept'") == [(raw,)]
