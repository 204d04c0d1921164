"""One change stream for all tables of a database: each table gets its own changes, and fails or waits alone."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient, monitoring

from tasks.errors import ResumeTokenLost, SourceError, WarehouseError
from tasks.extract import ExtractContext, ExtractResult, extract_table
from tasks.landing import Manifest
from tasks.mongodb import changes
from tasks.mongodb.config import MongoSource
from tasks.mongodb.shared import SharedStream
from tasks.mongodb.values import freeze
from tasks.sources import TableRef
from tests.fixtures.mongodb import Shop

NAMES = ("customers", "orders", "payments")


class Group:
    """The cdc tables of a database, and where the warehouse is with each."""

    def __init__(self, shop: Shop, change_stream: str = "database", **tables: dict[str, Any]) -> None:
        self.shop = shop
        self.states: dict[str, dict[str, Any]] = {}
        self.refs = {
            name: self._ref(name, change_stream, config)
            for name, config in (tables or {name: {} for name in NAMES}).items()
        }

    def _ref(self, name: str, change_stream: str, config: dict[str, Any]) -> TableRef:
        ref = self.shop.ref(name, **({"mode": "cdc"} | config))
        assert isinstance(ref.source, MongoSource)
        return replace(ref, source=ref.source.model_copy(update={"change_stream": change_stream}))

    def switch(self, change_stream: str) -> None:
        """Set the source's change stream anew."""
        self.refs = {
            name: replace(ref, source=ref.source.model_copy(update={"change_stream": change_stream}))
            for name, ref in self.refs.items()
        }

    def run(self, loads: tuple[str, ...] | None = None, **context: Any) -> dict[str, ExtractResult | WarehouseError]:
        """Extract every table; the checkpoint of those in `loads` (default all) moves on, as a load does it."""
        stream = SharedStream(list(self.refs.values()), lambda ref: self.states.get(ref.name, {}))
        results: dict[str, ExtractResult | WarehouseError] = {}
        for name, ref in self.refs.items():
            shares = {"shared": stream} if ref.source.change_stream == "database" else {}  # type: ignore[union-attr]
            try:
                result = extract_table(ref, ExtractContext(self.shop.landing, stream.state(ref), **(shares | context)))
            except WarehouseError as error:
                results[name] = error
                continue
            results[name] = result
            if result.manifest and (loads is None or name in loads):
                self.states[ref.name] = result.manifest.checkpoint
        return results

    def landed(self, name: str, since: int = 0) -> dict[str, str]:
        """Return what the batches of a table from a number on hold, by id: `u` or `d`."""
        return {
            row["_id"]: row.get("_op") or "s"
            for manifest in self.shop.batches(name)[since:]
            for row in self.shop.rows(manifest).iter_rows(named=True)
        }

    def image(self, name: str) -> dict[str, int]:
        """Return the rows that a load of all batches leaves."""
        image: dict[str, int] = {}
        for manifest in self.shop.batches(name):
            if manifest.scope.type == "snapshot":
                image = {}
            for row in self.shop.rows(manifest).iter_rows(named=True):
                if row.get("_op") == "d":
                    image.pop(row["_id"], None)
                else:
                    image[row["_id"]] = row["v|int"]
        return image

    def positions(self) -> list[dict[str, Any]]:
        """Return where each table is in the stream."""
        return [{**self.states[f"shop.{name}"], "collection": None} for name in NAMES]

    def source(self, name: str) -> dict[str, int]:
        return {str(document["_id"]): document["v"] for document in self.shop.database[name].find()}


@pytest.fixture
def group(shop: Shop) -> Group:
    for name in NAMES:
        shop.database[name].insert_many([{"_id": number, "v": 0} for number in range(3)])
    return Group(shop)


@pytest.fixture
def streams(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The change streams that the product opens: the collection, or 1 for the database's."""
    opened: list[Any] = []

    class Listener(monitoring.CommandListener):
        def started(self, event: monitoring.CommandStartedEvent) -> None:
            if "$changeStream" in str(event.command):
                opened.append(event.command["aggregate"])

        def succeeded(self, event: monitoring.CommandSucceededEvent) -> None: ...

        def failed(self, event: monitoring.CommandFailedEvent) -> None: ...

    monkeypatch.setattr("tasks.mongodb.client.MongoClient", partial(MongoClient, event_listeners=[Listener()]))
    return opened


def batch(result: ExtractResult | WarehouseError) -> Manifest:
    assert isinstance(result, ExtractResult), result
    assert result.manifest is not None
    return result.manifest


def test_three_tables_share_one_stream_and_land_their_own_changes(group: Group, streams: list[Any]) -> None:
    group.run()
    streams.clear()
    group.shop.database.orders.insert_one({"_id": 3, "v": 1})
    group.shop.database.orders.delete_one({"_id": 0})
    group.shop.database.payments.update_one({"_id": 1}, {"$set": {"v": 5}})
    group.shop.database.others.insert_one({"_id": 1})
    before = {name: len(group.shop.batches(name)) for name in NAMES}
    tokens = {name: group.states[f"shop.{name}"]["resume_token"] for name in NAMES}
    group.run()
    assert streams == [1], "one stream, on the database"
    assert group.landed("orders", before["orders"]) == {"3": "u", "0": "d"}
    assert group.landed("payments", before["payments"]) == {"1": "u"}
    assert group.landed("customers", before["customers"]) == {}
    after = group.positions()
    assert after[0] == after[1] == after[2], "idle tables move on with the others"
    assert after[0]["resume_token"] not in tokens.values()


def test_a_new_table_takes_its_snapshot_and_then_joins_the_stream(group: Group, streams: list[Any]) -> None:
    group.run()
    del group.states["shop.orders"]
    group.run()
    streams.clear()
    group.shop.database.orders.insert_one({"_id": 9, "v": 9})
    before = len(group.shop.batches("orders"))
    group.run()
    assert streams == [1]
    assert group.landed("orders", before) == {"9": "u"}


def test_a_table_that_did_not_load_holds_the_stream_back_and_gets_all_while_the_others_get_nothing_twice(
    group: Group, streams: list[Any]
) -> None:
    group.run()
    for number in range(3, 6):
        for name in NAMES:
            group.shop.database[name].insert_one({"_id": number, "v": number})
        group.run(loads=("customers", "payments"))
    group.shop.database.payments.insert_one({"_id": 6, "v": 6})
    before = {name: len(group.shop.batches(name)) for name in NAMES}
    streams.clear()
    group.run()
    assert streams == [1]
    assert group.landed("orders", before["orders"]) == {"3": "u", "4": "u", "5": "u"}
    # The event at the very position counts once more, because a transaction's events share one time.
    assert set(group.landed("payments", before["payments"])) == {"5", "6"}
    assert not {"3", "4"} & set(group.landed("customers", before["customers"]))
    assert len({str(position) for position in group.positions()}) == 1, "all are at one position again"


@pytest.mark.parametrize("operation", ["drop", "rename", "renamed_onto"])
def test_a_collection_that_is_no_longer_the_same_is_read_anew_and_the_others_are_not(
    group: Group, operation: str
) -> None:
    group.run()
    database = group.shop.database
    if operation == "drop":
        database.orders.drop()
    elif operation == "rename":
        database.orders.rename("old_orders")
    else:
        database.fresh.insert_one({"_id": "new", "v": 1})
        database.fresh.rename("orders", dropTarget=True)
    if operation != "renamed_onto":
        database.orders.insert_one({"_id": "new", "v": 1})
    database.payments.insert_one({"_id": 7, "v": 7})
    results = group.run()
    assert batch(results["orders"]).scope.type == "snapshot"
    assert group.image("orders") == {"new": 1}
    assert batch(results["payments"]).scope.type == "upsert"
    assert batch(results["payments"]).rows == 1
    assert isinstance(results["orders"], ExtractResult)
    assert "read anew" in " ".join(results["orders"].warnings)
    database.orders.insert_one({"_id": "newer", "v": 2})
    again = group.run()
    assert batch(again["orders"]).scope.type == "upsert", "once is enough"
    assert group.image("orders") == {"new": 1, "newer": 2}


def test_a_dropped_database_is_read_anew_table_by_table(group: Group) -> None:
    group.run()
    database = group.shop.database
    group.shop.client.drop_database(database.name)
    database.orders.insert_one({"_id": "new", "v": 1})
    results = group.run()
    assert batch(results["orders"]).scope.type == "snapshot"
    assert "'customers' does not exist" in str(results["customers"])
    kept = group.states["shop.customers"]
    database.customers.insert_one({"_id": "back", "v": 2})
    database.orders.insert_one({"_id": "newer", "v": 3})
    results = group.run()
    assert group.states["shop.customers"] != kept
    assert group.image("customers") == {"back": 2}
    assert batch(results["orders"]).scope.type == "upsert"
    assert group.image("orders") == {"new": 1, "newer": 3}


@pytest.mark.parametrize("policy", ["fail", "resnapshot"])
def test_a_lost_position_concerns_its_own_table_only(shop: Shop, policy: str) -> None:
    for name in NAMES:
        shop.database[name].insert_many([{"_id": number, "v": 0} for number in range(3)])
    group = Group(shop, customers={}, orders={"on_lost_token": policy}, payments={})
    group.run()
    group.run()
    state = group.states["shop.orders"]
    # Older than the others, so that the stream would begin here.
    damaged = {**state, "cluster_time": [1, 1], "resume_token": freeze({"_data": "00"})}
    group.states["shop.orders"] = damaged
    shop.database.orders.delete_one({"_id": 0})
    shop.database.payments.insert_one({"_id": 7, "v": 7})
    results = group.run()
    assert "7" in group.image("payments")
    if policy == "fail":
        assert isinstance(results["orders"], ResumeTokenLost)
        assert "warehouse reset shop.orders" in results["orders"].action
        assert group.states["shop.orders"] == damaged
    else:
        assert batch(results["orders"]).scope.type == "snapshot"
        assert group.image("orders") == group.source("orders")


def test_a_table_that_has_had_its_events_waits_and_the_others_go_on(shop: Shop) -> None:
    for name in ("orders", "payments"):
        shop.database[name].insert_one({"_id": -1, "v": 0})
    group = Group(shop, orders={"max_events": 10}, payments={})
    group.run()
    for name in ("orders", "payments"):
        shop.database[name].insert_many([{"_id": number, "v": number} for number in range(25)])
    group.run()
    assert len(group.image("orders")) == 11
    assert len(group.image("payments")) == 26
    for _ in range(2):
        group.run()
    assert group.image("orders") == group.source("orders")


def test_the_keys_that_wait_are_bounded_by_memory(group: Group, monkeypatch: pytest.MonkeyPatch) -> None:
    group.run()
    monkeypatch.setattr(changes, "BATCH_EVENTS", 20)
    group.shop.database.orders.insert_many([{"_id": number, "v": 0} for number in range(100, 400)])
    # A key is 14 bytes of BSON, and an eighth of the budget may wait: 100 of 300.
    group.run(memory_bytes=100 * 14 * 8)
    assert 100 <= len(group.image("orders")) - 3 < 140
    for _ in range(3):
        group.run(memory_bytes=100 * 14 * 8)
    assert group.image("orders") == group.source("orders")


def test_the_setting_can_change_in_both_directions_without_a_gap(group: Group) -> None:
    group.switch("collection")
    group.run()
    for number, kind in enumerate(("database", "collection", "database")):
        for name in NAMES:
            group.shop.database[name].insert_many([{"_id": f"{number}{letter}", "v": 1} for letter in "abc"])
            group.shop.database[name].update_one({"_id": 1}, {"$inc": {"v": 1}})
        group.run(loads=("orders", "payments"))
        group.switch(kind)
    group.run()
    for name in NAMES:
        assert group.image(name) == group.source(name)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_whatever_fails_when_the_end_equals_the_source(group: Group, seed: int) -> None:
    """Random writes and drops on all collections, between runs in which random tables do not load."""
    dice = random.Random(seed)
    for _ in range(8):
        for _ in range(30):
            collection = group.shop.database[dice.choice([*NAMES, "others"])]
            key = dice.randrange(12)
            if dice.random() < 0.02 and collection.name != "others":
                collection.drop()
                collection.insert_one({"_id": key, "v": 1})
            elif dice.random() < 0.3:
                collection.delete_one({"_id": key})
            else:
                collection.update_one({"_id": key}, {"$inc": {"v": 1}}, upsert=True)
        for result in group.run(loads=tuple(name for name in NAMES if dice.random() < 0.6)).values():
            assert not isinstance(result, SourceError), result
    group.run()
    for name in NAMES:
        assert group.image(name) == group.source(name), name


KILLED = """
import os, signal, sys
from tests.fixtures.mongodb import Shop
from tests.integration.mongodb.test_shared_stream import Group
from tasks.mongodb import extract
from pathlib import Path
import json
shop = Shop(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
group = Group(shop)
group.states = json.loads(sys.argv[4])
real, done = extract._land_changes, []
def land(*args):
    if len(done) == int(sys.argv[5]):
        os.kill(os.getpid(), signal.SIGKILL)
    done.append(real(*args))
    return done[-1]
extract._land_changes = land
group.run()
"""


@pytest.mark.parametrize("tables", [0, 1, 2])
def test_a_process_killed_between_tables_leaves_whole_batches_and_the_next_run_the_rest(
    group: Group, tables: int
) -> None:
    group.run()
    for name in NAMES:
        group.shop.database[name].insert_one({"_id": "late", "v": 4})
        group.shop.database[name].delete_one({"_id": 0})
    before = {name: len(group.shop.batches(name)) for name in NAMES}
    place = [group.shop.uri, group.shop.name, group.shop.landing.root, json.dumps(group.states), str(tables)]
    root = Path(__file__).parents[3]
    ended = subprocess.run([sys.executable, "-c", KILLED, *place], cwd=root, check=False, timeout=120)
    assert ended.returncode == -signal.SIGKILL
    landed = [name for name in NAMES if len(group.shop.batches(name)) > before[name]]
    assert landed == list(NAMES[:tables]), "a table's batch is whole or is not there"
    # What landed is loaded, the others stay where they were.
    for name in landed:
        group.states[f"shop.{name}"] = group.shop.batches(name)[-1].checkpoint
    group.run()
    for name in NAMES:
        assert group.image(name) == group.source(name)
