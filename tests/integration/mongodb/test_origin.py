"""A collection that is dropped, filled again, or loses the index of its cursor: told in the ledger, once."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from tasks.bronze.load import load_batch
from tasks.drift import origin
from tasks.landing.manifest import Origin
from tasks.mongodb.origin import origin_of
from tasks.sources import TableRef
from tests.fixtures.mongodb import Shop


def _run(shop: Shop, ref: TableRef, postgres_url: str) -> None:
    shop.extract(ref)
    for manifest in shop.batches(ref.table_name):
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
        told = [origin.note_gone(connection, ref.key, {"said": "it does not exist"}, None) for _ in range(2)]
        assert told == [True, False]
        shop.database.orders.insert_one({"_id": 2})
        _run(shop, ref, postgres_url)
        assert origin.note_gone(connection, ref.key, {"said": "it does not exist"}, None)
        assert not origin.note_gone(connection, shop.ref("never").key, {"said": "it does not exist"}, None)
    assert _told(postgres_url) == [("(table)", "dropped")] * 2


def _fill(shop: Shop, name: str, ids: list[Any], *indexes: str) -> None:
    shop.database[name].insert_many([{"_id": key, "city": "a"} for key in ids])
    for index in indexes:
        shop.database[name].create_index(index)


NAMES = [f"order-{number}" for number in range(20)]


@pytest.mark.parametrize(
    ("ids", "others", "found"),
    [
        # The nearer name has other documents, the one further away most of the table's; a new one is not known yet.
        (NAMES, {"orders_v2": (["x", "y", "z"], ()), "sales": ([*NAMES, "new"], ("city",))}, "sales"),
        # Numbers are in every collection: the indexes tell.
        (range(20), {"payments": (range(20), ()), "sales": (range(20), ("city",))}, "sales"),
        (range(20), {"payments": (range(20), ())}, None),
        (NAMES, {"sales": ([*NAMES[:10], *"abcdefghij"], ("city",))}, None),
        # A table reads it already.
        (NAMES, {"taken": (NAMES, ("city",))}, None),
    ],
)
def test_where_a_collection_went_is_told_by_its_ids_and_indexes(
    shop: Shop, postgres_url: str, ids: Any, others: dict[str, tuple[Any, tuple[str, ...]]], found: str | None
) -> None:
    ref = shop.ref()
    ref.source.tables["taken"] = ref.table
    _fill(shop, "orders", list(ids), "city")
    _run(shop, ref, postgres_url)
    shop.database.orders.drop()
    for name, (keys, indexes) in others.items():
        _fill(shop, name, list(keys), *indexes)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        moved = origin.successor(connection, ref)
        assert (moved.name if moved else None) == found
        if moved is None:
            return
        assert "its indexes are the same" in moved.why
        told = [origin.note_gone(connection, ref.key, {"said": "gone"}, moved) for _ in range(2)]
        assert told == [True, False]
        [[change, evidence]] = connection.execute(
            "select change, evidence from ops.schema_changes where field = '(table)'"
        ).fetchall()
    assert change == "source_renamed"
    assert evidence["renamed_to"] == found and evidence["ids_known"] == 20 and evidence["indexes"] == ["city:1"]


def test_a_collection_that_is_there_went_nowhere_and_one_the_server_knows_needs_no_ids(shop: Shop) -> None:
    _fill(shop, "orders", NAMES)
    _fill(shop, "sales", NAMES)
    identity = origin_of(shop.database.sales, None).identity
    assert identity is not None
    ref = shop.ref()

    def none(keys: Any) -> int:
        return 0

    assert ref.connector.successor(ref, Origin(identity=identity), none) is None
    shop.database.orders.drop()
    moved = ref.connector.successor(ref, Origin(identity=identity), none)
    assert moved is not None and moved.name == "sales" and moved.evidence["same_identity"]


def test_the_checkpoint_of_a_renamed_table_goes_on_and_cdc_is_read_anew(shop: Shop, postgres_url: str) -> None:
    for mode in ("incremental", "cdc"):
        config: dict[str, Any] = {"mode": mode} | ({"cursor": "at"} if mode == "incremental" else {})
        days = [datetime(2026, 1, day, tzinfo=UTC) for day in (1, 2, 3, 4)]
        shop.database[mode].insert_many([{"_id": day.day, "at": day} for day in days[:3]])
        _run(shop, shop.ref(mode, **config), postgres_url)
        # What changed after the last run and before the renaming must not be missed.
        shop.database[mode].insert_one({"_id": 4, "at": days[3]})
        shop.database[mode].delete_one({"_id": 1})
        shop.database[mode].rename(f"{mode}_v2")
        ref = shop.ref(mode, **config, collection=f"{mode}_v2")
        shop.state = ref.connector.usable_state(ref, shop.state)
        assert bool(shop.state) == (mode == "incremental")
        _run(shop, ref, postgres_url)
        shop.state = {}
    with psycopg.connect(postgres_url) as connection:
        alive = "select _id from bronze.shop__{} where _deleted_at is null order by _id"
        assert connection.execute(alive.format("cdc")).fetchall() == [("2",), ("3",), ("4",)]
        # Deletes of an incremental table without the sweep are not seen.
        assert connection.execute(alive.format("incremental")).fetchall() == [("1",), ("2",), ("3",), ("4",)]
