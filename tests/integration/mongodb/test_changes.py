"""Change streams: joined to the snapshot without gap, resumed without loss, never silently started anew."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from tasks.errors import ResumeTokenLost, SourceError
from tasks.mongodb import changes
from tasks.sources import TableRef
from tests.fixtures.mongodb import Shop


def ops(shop: Shop, manifest: Any) -> dict[str, str]:
    rows = shop.rows(manifest)
    return dict(zip(rows["_id"], rows["_op"], strict=True)) if "_op" in rows.columns else {}


def test_changes_after_the_snapshot_arrive_once_each(shop: Shop) -> None:
    orders = shop.database.orders
    orders.insert_many([{"_id": number, "v": 0} for number in range(5)])
    ref = shop.ref(mode="cdc")
    first = shop.extract(ref)
    assert shop.batches()[0].scope.type == "snapshot"
    assert sorted(shop.rows(shop.batches()[0])["_id"]) == list("01234")
    orders.insert_one({"_id": 5, "v": 0})
    orders.update_one({"_id": 1}, {"$set": {"v": 1}})
    orders.update_one({"_id": 1}, {"$set": {"v": 2}})
    orders.replace_one({"_id": 2}, {"w": 9})
    orders.delete_one({"_id": 3})
    orders.insert_one({"_id": 6})
    orders.delete_one({"_id": 6})
    manifest = shop.extract(ref).manifest
    assert ops(shop, manifest) == {"5": "u", "1": "u", "2": "u", "3": "d", "6": "d"}
    rows = shop.rows(manifest)
    assert rows.filter(rows["_id"] == "1")["v|int"].to_list() == [2]
    assert first.manifest is not None


def test_a_write_during_the_snapshot_is_not_lost(shop: Shop) -> None:
    shop.database.orders.insert_many([{"_id": number} for number in range(5)])
    told: list[int] = []

    def write_after_reading(rows: int) -> None:
        if not told:
            shop.database.orders.insert_one({"_id": "meanwhile"})
            shop.database.orders.delete_one({"_id": 0})
        told.append(rows)

    manifest = shop.extract(shop.ref(mode="cdc"), progress=write_after_reading).manifest
    assert told[0] == 5, "the snapshot had been read"
    assert len(shop.batches()) == 2
    assert ops(shop, manifest) == {"meanwhile": "u", "0": "d"}


def test_an_idle_collection_still_moves_its_position(shop: Shop) -> None:
    shop.database.orders.insert_one({"_id": 1})
    ref = shop.ref(mode="cdc")
    shop.extract(ref)
    before = shop.state["resume_token"]
    shop.database.other.insert_many([{"n": number} for number in range(20)])
    manifest = shop.extract(ref).manifest
    assert manifest is not None
    assert manifest.rows == 0
    assert shop.state["resume_token"] != before
    shop.database.orders.insert_one({"_id": 2})
    assert ops(shop, shop.extract(ref).manifest) == {"2": "u"}


def test_a_document_that_leaves_the_filter_is_deleted(shop: Shop) -> None:
    orders = shop.database.orders
    orders.insert_many([{"_id": 1, "channel": "web"}, {"_id": 2, "channel": "web"}])
    ref = shop.ref(mode="cdc", filter={"channel": {"$ne": "test"}})
    shop.extract(ref)
    orders.update_one({"_id": 2}, {"$set": {"channel": "test"}})
    orders.insert_one({"_id": 3, "channel": "test"})
    orders.insert_one({"_id": 4, "channel": "web"})
    assert ops(shop, shop.extract(ref).manifest) == {"2": "d", "3": "d", "4": "u"}


def test_large_documents_pass_although_their_events_would_not(shop: Shop) -> None:
    shop.database.orders.insert_one({"_id": 1, "text": "a" * 15_000_000})
    ref = shop.ref(mode="cdc")
    shop.extract(ref)
    shop.database.orders.update_one({"_id": 1}, {"$set": {"text": "b" * 15_000_000}})
    rows = shop.rows(shop.extract(ref).manifest)
    assert rows["text|string"][0] == "b" * 15_000_000


def test_a_dropped_and_refilled_collection_is_read_anew(shop: Shop) -> None:
    orders = shop.database.orders
    orders.insert_many([{"_id": number} for number in range(3)])
    ref = shop.ref(mode="cdc")
    shop.extract(ref)
    orders.drop()
    orders.insert_one({"_id": "new"})
    result = shop.extract(ref)
    assert result.manifest is not None
    assert result.manifest.scope.type == "snapshot"
    assert shop.rows(result.manifest)["_id"].to_list() == ["new"]
    assert "drop" in " ".join(result.warnings)
    orders.insert_one({"_id": "newer"})
    assert ops(shop, shop.extract(ref).manifest) == {"newer": "u"}


def damaged(state: dict[str, Any]) -> dict[str, Any]:
    from tasks.mongodb.values import freeze

    return {**state, "resume_token": freeze({"_data": "00"})}


def test_a_lost_position_fails_by_name(shop: Shop) -> None:
    shop.database.orders.insert_one({"_id": 1})
    ref = shop.ref(mode="cdc")
    shop.extract(ref)
    kept = shop.state = damaged(shop.state)
    landed = len(shop.batches())
    with pytest.raises(ResumeTokenLost, match="cannot be resumed") as caught:
        shop.extract(ref)
    assert "warehouse reset shop.orders" in caught.value.action
    assert shop.state == kept
    assert len(shop.batches()) == landed, "nothing landed, so the checkpoint stays"


def test_a_lost_position_can_be_answered_by_reading_all_again(shop: Shop) -> None:
    orders = shop.database.orders
    orders.insert_many([{"_id": 1}, {"_id": 2}])
    ref = shop.ref(mode="cdc", on_lost_token="resnapshot")
    shop.extract(ref)
    orders.delete_one({"_id": 1})
    shop.state = damaged(shop.state)
    result = shop.extract(ref)
    assert result.manifest is not None
    assert result.manifest.scope.type == "snapshot"
    assert shop.rows(result.manifest)["_id"].to_list() == ["2"]
    assert "deletes included" in result.warnings[0]


def test_a_run_ends_at_its_limit_and_the_next_goes_on(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "BATCH_EVENTS", 10)
    shop.database.create_collection("orders")
    ref = shop.ref(mode="cdc", max_events=20)
    shop.extract(ref)
    shop.database.orders.insert_many([{"_id": number} for number in range(35)])
    shop.extract(ref)
    landed = [row for manifest in shop.batches() for row in shop.rows(manifest)["_id"]]
    assert len(landed) == 20
    shop.extract(ref)
    landed = [row for manifest in shop.batches() for row in shop.rows(manifest)["_id"]]
    assert sorted(map(int, landed)) == list(range(35))


def test_events_of_one_time_land_in_one_batch(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A transaction's events share one logical time; a position between them would have no place in the order."""
    monkeypatch.setattr(changes, "BATCH_EVENTS", 3)
    orders = shop.database.create_collection("orders")
    ref = shop.ref(mode="cdc")
    shop.extract(ref)
    before = len(shop.batches())
    with orders.watch() as stream:
        orders.insert_one({"_id": "alone"})
        with shop.client.start_session() as session, session.start_transaction():
            for number in range(8):
                orders.insert_one({"_id": number}, session=session)
        events = [next(stream) for _ in range(9)]
    times = {str(event["documentKey"]["_id"]): event["clusterTime"] for event in events}
    shop.extract(ref)
    batch_of = {key: number for number, manifest in enumerate(shop.batches()[before:]) for key in ops(shop, manifest)}
    assert batch_of.keys() == times.keys()
    for key, time_ in times.items():
        assert {batch_of[other] for other in times if times[other] == time_} == {batch_of[key]}


def test_a_position_that_moves_back_fails(shop: Shop) -> None:
    shop.database.orders.insert_one({"_id": 1})
    ref = shop.ref(mode="cdc")
    shop.extract(ref)
    shop.state = {**shop.state, "cluster_time": [4_000_000_000, 1]}
    shop.database.orders.insert_one({"_id": 2})
    from tasks.errors import SourceError

    with pytest.raises(SourceError, match="went back in time"):
        shop.extract(ref)


def _extract_in_order(shop: Shop, ref: TableRef) -> None:
    """Extract; once more where the embedded server gave two writers' events the wrong way round, which is refused."""
    try:
        shop.extract(ref)
    except SourceError as error:
        if "went back in time" not in str(error):
            raise
        shop.extract(ref)


def test_changes_under_concurrent_writers_end_equal_to_the_source(shop: Shop) -> None:
    orders = shop.database.orders
    orders.insert_many([{"_id": number, "v": 0} for number in range(50)])
    ref = shop.ref(mode="cdc")
    stop = threading.Event()

    def write(seed: int) -> None:
        import random

        dice = random.Random(seed)
        while not stop.is_set():
            key = dice.randrange(80)
            if dice.random() < 0.3:
                orders.delete_one({"_id": key})
            else:
                orders.update_one({"_id": key}, {"$inc": {"v": 1}}, upsert=True)

    writers = [threading.Thread(target=write, args=(seed,)) for seed in range(3)]
    for writer in writers:
        writer.start()
    try:
        for _ in range(3):
            _extract_in_order(shop, ref)
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    shop.extract(ref)
    image: dict[str, int] = {}
    for manifest in shop.batches():
        if manifest.scope.type == "snapshot":
            image = {}
        for row in shop.rows(manifest).iter_rows(named=True):
            if row.get("_op") == "d":
                image.pop(row["_id"], None)
            else:
                image[row["_id"]] = row["v|int"]
    assert image == {str(document["_id"]): document["v"] for document in orders.find()}


def test_a_database_that_others_never_stop_writing_to_does_not_hold_the_run(shop: Shop) -> None:
    shop.database.orders.insert_one({"_id": 1})
    ref = shop.ref(mode="cdc", max_seconds=120)
    shop.extract(ref)
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            shop.database.other.insert_one({})

    writer = threading.Thread(target=write)
    writer.start()
    begun = time.monotonic()
    try:
        shop.extract(ref)
    finally:
        stop.set()
        writer.join()
    assert time.monotonic() - begun < 60, "it ends by itself, not by its time limit"
