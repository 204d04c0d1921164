"""A collection that is dropped, filled again, or loses the index of its cursor: told in the ledger, once."""

from __future__ import annotations

from datetime import UTC, datetime

import psycopg

from tasks.bronze.load import load_batch
from tasks.drift import origin
from tasks.sources import TableRef
from tests.fixtures.mongodb import Shop


def _run(shop: Shop, ref: TableRef, postgres_url: str) -> None:
    manifest = shop.extract(ref).manifest
    assert manifest is not None
    load_batch(postgres_url, shop.landing, manifest, ref.table)


def _told(postgres_url: str) -> list[tuple[str, str]]:
    with psycopg.connect(postgres_url) as connection:
        return connection.execute(
            "select field, change from ops.schema_changes where change <> 'appeared' order by id"
        ).fetchall()


def test_a_collection_that_was_filled_again_and_its_lost_index_are_told_once(shop: Shop, postgres_url: str) -> None:
    ref = shop.ref(mode="incremental", cursor="at")
    orders = shop.database.orders
    orders.create_index("at")
    for day in (1, 2):
        orders.insert_one({"_id": day, "at": datetime(2026, 1, day, tzinfo=UTC)})
        _run(shop, ref, postgres_url)
    assert _told(postgres_url) == []
    orders.drop_index("at_1")
    for day in (3, 4):
        orders.insert_one({"_id": day, "at": datetime(2026, 1, day, tzinfo=UTC)})
        _run(shop, ref, postgres_url)
    assert _told(postgres_url) == [("at", "index_lost")]
    orders.drop()
    for day in (5, 6):
        orders.insert_one({"_id": day, "at": datetime(2026, 1, day, tzinfo=UTC)})
        _run(shop, ref, postgres_url)
    assert _told(postgres_url) == [("at", "index_lost"), ("(table)", "refilled")]


def test_a_loaded_table_whose_collection_is_gone_is_told_once_until_it_is_loaded_again(
    shop: Shop, postgres_url: str
) -> None:
    ref = shop.ref()
    shop.database.orders.insert_one({"_id": 1})
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        _run(shop, ref, postgres_url)
        told = [origin.note_dropped(connection, ref.key, {"said": "it does not exist"}) for _ in range(2)]
        assert told == [True, False]
        shop.database.orders.insert_one({"_id": 2})
        _run(shop, ref, postgres_url)
        assert origin.note_dropped(connection, ref.key, {"said": "it does not exist"})
        assert not origin.note_dropped(connection, shop.ref("never").key, {"said": "it does not exist"})
    assert _told(postgres_url) == [("(table)", "dropped")] * 2
