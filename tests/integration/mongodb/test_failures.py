"""A read that is broken on the way: named, nothing half landed, and the next run has everything."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from pydantic import SecretStr
from pymongo import MongoClient, monitoring

from tasks.errors import TRANSIENT, SourceError, SourceUnreachable
from tasks.mongodb import extract as module
from tasks.mongodb.config import MongoSource
from tasks.sources import TableRef
from tests.fixtures.mongodb import Shop
from tests.line import Line

DOCUMENTS = 3_000


class AtFirstBatch(monitoring.CommandListener):
    """Does something once, when a query or a stream of the collection has given its first batch and has more."""

    def __init__(self) -> None:
        self.action: Callable[[int], object] | None = None
        self.command = "find"

    def started(self, event: monitoring.CommandStartedEvent) -> None: ...

    def failed(self, event: monitoring.CommandFailedEvent) -> None: ...

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        cursor = event.reply.get("cursor", {}).get("id", 0)
        if event.command_name == self.command and cursor and self.action:
            action, self.action = self.action, None
            action(cursor)


@pytest.fixture
def first_batch(monkeypatch: pytest.MonkeyPatch) -> AtFirstBatch:
    listener = AtFirstBatch()
    monkeypatch.setattr("tasks.mongodb.client.MongoClient", partial(MongoClient, event_listeners=[listener]))
    monkeypatch.setattr(module, "BATCH_DOCUMENTS", 100)
    return listener


@pytest.fixture
def line(mongodb_uri: str) -> Iterator[Line]:
    made = Line(mongodb_uri)
    yield made
    made.close()


@pytest.fixture
def orders(shop: Shop) -> Any:
    collection = shop.database.orders
    collection.insert_many([{"_id": number, "at": number} for number in range(DOCUMENTS)])
    return collection


def through(line: Line, ref: TableRef) -> TableRef:
    assert isinstance(ref.source, MongoSource)
    return replace(ref, source=ref.source.model_copy(update={"uri": SecretStr(line.uri)}))


CONFIGS: dict[str, dict[str, Any]] = {
    "full": {"mode": "full"},
    "incremental": {"mode": "incremental", "cursor": "at", "deletes": "sweep"},
    "cdc": {"mode": "cdc"},
}


@pytest.mark.parametrize("mode", CONFIGS)
@pytest.mark.parametrize("fault", ["killed", "dropped", "renamed", "cut"])
def test_a_read_that_is_broken_in_the_middle_is_named_and_the_next_has_all(
    fault: str, mode: str, shop: Shop, orders: Any, line: Line, first_batch: AtFirstBatch
) -> None:
    ref = through(line, shop.ref(**CONFIGS[mode]))
    actions: dict[str, Callable[[int], object]] = {
        "killed": lambda cursor: shop.database.command("killCursors", "orders", cursors=[cursor]),
        "dropped": lambda _: orders.drop(),
        "renamed": lambda _: orders.rename("elsewhere"),
        "cut": lambda _: line.cut(),
    }
    first_batch.action = actions[fault]
    with pytest.raises(SourceUnreachable, match="did not answer" if fault == "cut" else "ended the query") as caught:
        shop.extract(ref)
    assert isinstance(caught.value, TRANSIENT), "the task's own retries come next"
    assert (shop.batches(), shop.state) == ([], {})
    if fault in ("dropped", "renamed"):
        with pytest.raises(SourceError, match="'orders' does not exist" if fault == "renamed" else "does not exist"):
            shop.extract(ref)
        orders.insert_many([{"_id": number, "at": number} for number in range(DOCUMENTS)])
    shop.extract(ref)
    assert sorted(map(int, shop.rows(shop.batches()[0])["_id"])) == list(range(DOCUMENTS))


def test_a_stream_that_is_cut_is_resumed_and_loses_nothing(shop: Shop, line: Line, first_batch: AtFirstBatch) -> None:
    orders = shop.database.create_collection("orders")
    ref = through(line, shop.ref(mode="cdc"))
    shop.extract(ref)
    orders.insert_many([{"_id": number} for number in range(500)])
    first_batch.command, first_batch.action = "aggregate", lambda _: line.cut()
    manifest = shop.extract(ref).manifest
    assert first_batch.action is None, "it was cut"
    assert sorted(map(int, shop.rows(manifest)["_id"])) == list(range(500))


def test_a_capped_collection_is_read_whole(shop: Shop) -> None:
    capped = shop.database.create_collection("orders", capped=True, size=1 << 20)
    capped.insert_many([{"_id": number} for number in range(100)])
    assert sorted(map(int, shop.rows(shop.extract(shop.ref()).manifest)["_id"])) == list(range(100))


def test_a_time_series_is_read_whole_by_measurement(shop: Shop) -> None:
    from datetime import UTC, datetime, timedelta

    begin = datetime(2026, 1, 1, tzinfo=UTC)
    series = shop.database.create_collection("orders", timeseries={"timeField": "at", "metaField": "shop"})
    series.insert_many([{"_id": n, "at": begin + timedelta(minutes=n), "shop": n % 3, "v": n} for n in range(90)])
    rows = shop.rows(shop.extract(shop.ref(partitions=3)).manifest)
    assert sorted(rows["v|int"]) == list(range(90))


@pytest.mark.parametrize("change_stream", ["collection", "database"])
def test_a_view_cannot_be_followed_and_says_so(shop: Shop, change_stream: str) -> None:
    shop.database.orders.insert_one({"_id": 1})
    shop.database.command({"create": "paid", "viewOn": "orders", "pipeline": []})
    ref = shop.ref("paid", mode="cdc")
    assert isinstance(ref.source, MongoSource)
    ref = replace(ref, source=ref.source.model_copy(update={"change_stream": change_stream}))
    with pytest.raises(SourceError, match="cannot follow a view"):
        shop.extract(ref)
    assert shop.batches("paid") == []


def test_an_empty_collection_is_no_error_in_any_mode(shop: Shop) -> None:
    shop.database.create_collection("orders")
    for mode, config in CONFIGS.items():
        shop.state = {}
        result = shop.extract(shop.ref(**config))
        assert result.metrics.rows_landed == 0, mode
