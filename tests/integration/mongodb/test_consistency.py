"""What is sent to the server so that no member, however far behind, can make a checkpoint pass over a document.

One node cannot lag behind itself, so the commands are the proof: every read asks for the majority's data at a time
that is not before anything that the run has seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any

import pytest
from bson.timestamp import Timestamp
from pydantic import SecretStr
from pymongo import MongoClient, monitoring

from tasks.errors import SourceError
from tasks.mongodb.config import MongoSource
from tasks.sources import TableRef
from tests.fixtures.mongodb import Shop


class Recorder(monitoring.CommandListener):
    """Keeps every command with the greatest logical time that reads before it had shown."""

    def __init__(self) -> None:
        self.seen = Timestamp(0, 0)
        self.sent: list[tuple[str, dict[str, Any], Timestamp]] = []

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        self.sent.append((event.command_name, dict(event.command), self.seen))

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        if event.command_name in ("ping", "find", "aggregate", "getMore"):
            self.seen = max(self.seen, event.reply["operationTime"])

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        raise AssertionError(event.failure)

    def reads(self) -> list[tuple[str, dict[str, Any], Timestamp]]:
        """The queries on documents and the change streams; a getMore goes on with what its query asked for."""
        return [sent for sent in self.sent if sent[0] in ("find", "aggregate")]


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorder]:
    made = Recorder()
    monkeypatch.setattr("tasks.mongodb.client.MongoClient", partial(MongoClient, event_listeners=[made]))
    yield made


def on_secondaries(ref: TableRef) -> TableRef:
    assert isinstance(ref.source, MongoSource)
    assert ref.source.uri is not None
    # A direct connection would send no preference: the driver finds the member by the set's own list here.
    uri = SecretStr(ref.source.uri.get_secret_value().replace("directConnection=true", "directConnection=false"))
    return replace(ref, source=ref.source.model_copy(update={"uri": uri, "read_preference": "secondaryPreferred"}))


CONFIGS = {
    "full": {"mode": "full"},
    "incremental": {"mode": "incremental", "cursor": "at"},
    "sweep": {"mode": "incremental", "cursor": "at", "deletes": "sweep"},
    "cdc": {"mode": "cdc"},
}


@pytest.mark.parametrize("name", CONFIGS)
def test_every_read_asks_for_majority_data_no_older_than_what_was_seen(
    name: str, shop: Shop, recorder: Recorder
) -> None:
    orders = shop.database.orders
    orders.create_index("at")
    orders.insert_many([{"_id": number, "at": datetime(2026, 1, 1, 0, number % 60)} for number in range(200)])
    ref = on_secondaries(shop.ref(**CONFIGS[name]))
    shop.extract(ref)
    orders.insert_one({"_id": "later", "at": datetime(2026, 2, 1)})
    orders.delete_one({"_id": 7})
    shop.extract(ref)
    assert recorder.sent[1][0] == "ping", "the primary's time comes before the first read"
    assert len(recorder.reads()) >= 2
    for _, command, seen in recorder.reads():
        asked = command["readConcern"]
        assert asked["level"] == "majority", command
        assert asked["afterClusterTime"] >= seen > Timestamp(0, 0), command
        assert command["$readPreference"]["mode"] == "secondaryPreferred", command


def test_an_index_hint_and_a_time_limit_reach_the_server(shop: Shop, recorder: Recorder) -> None:
    shop.database.orders.create_index("at", name="by_time")
    shop.database.orders.insert_one({"_id": 1, "at": datetime(2026, 1, 1)})
    ref = shop.ref(mode="incremental", cursor="at", hint="by_time")
    ref = replace(ref, source=ref.source.model_copy(update={"max_time_ms": 54_321}))
    shop.extract(ref)
    recorder.sent.clear()
    shop.database.orders.insert_one({"_id": 2, "at": datetime(2026, 1, 2)})
    shop.extract(ref)
    finds = [command for _, command, _ in recorder.reads()]
    assert finds and all(command["maxTimeMS"] == 54_321 for command in finds)
    assert finds[-1]["hint"] == "by_time", "the window is read by it"


def test_the_filter_of_a_full_read_takes_the_hint_whatever_the_size(
    shop: Shop, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.mongodb.extract.RANGE_BYTES", 100)
    shop.database.orders.create_index("channel", name="by_channel")
    shop.database.orders.insert_many([{"_id": number, "channel": number % 3} for number in range(9)])
    manifest = shop.extract(shop.ref(filter={"channel": 1}, hint="by_channel")).manifest
    assert manifest is not None and manifest.rows == 3
    assert [command.get("hint") for name, command, _ in recorder.reads() if name == "find"] == ["by_channel"]


def test_a_hint_that_names_no_index_is_an_error_and_lands_nothing(shop: Shop) -> None:
    shop.database.orders.insert_one({"_id": 1, "at": 1})
    with pytest.raises(SourceError, match=r"no index 'nowhere'.*there is: _id_"):
        shop.extract(shop.ref(mode="incremental", cursor="at", hint="nowhere"))
    shop.extract(shop.ref(mode="incremental", cursor="at"))
    landed, state = len(shop.batches()), shop.state
    shop.database.orders.insert_one({"_id": 2, "at": 2})
    with pytest.raises(SourceError, match="hint"):
        shop.extract(shop.ref(mode="incremental", cursor="at", hint="nowhere"))
    assert (len(shop.batches()), shop.state) == (landed, state)


def test_ranges_that_are_read_side_by_side_see_all_that_is_before_the_position(shop: Shop, recorder: Recorder) -> None:
    shop.database.orders.insert_many([{"_id": number} for number in range(50)])
    shop.extract(on_secondaries(shop.ref(mode="cdc", partitions=3)))
    position = Timestamp(*shop.batches()[0].checkpoint["cluster_time"])
    finds = [command for name, command, _ in recorder.reads() if name == "find"]
    assert len(finds) >= 3
    assert all(command["readConcern"]["afterClusterTime"] >= position for command in finds)


def test_the_first_command_of_each_process_that_reads_a_range_asks_the_primary_for_its_time(
    shop: Shop, recorder: Recorder
) -> None:
    from tasks.extract import ExtractContext, extract_table
    from tasks.mongodb import extract as module

    shop.database.orders.insert_many([{"_id": number} for number in range(50)])
    ref = on_secondaries(shop.ref(mode="cdc", partitions=2))
    batch_id, count = module.plan_batch(ref, ExtractContext(shop.landing))
    position = Timestamp(*shop.landing.plan("shop", "orders", batch_id).state["checkpoint"]["cluster_time"])
    recorder.sent.clear()
    extract_table(ref, ExtractContext(shop.landing, segment=(0, count), batch_id=batch_id))
    ((_, find, _),) = recorder.reads()
    assert find["readConcern"]["afterClusterTime"] >= position
    ping = next(command for name, command, _ in recorder.sent if name == "ping")
    assert ping.get("$readPreference", {"mode": "primaryPreferred"})["mode"] in ("primary", "primaryPreferred")
