"""Whole collections: complete, resumable by range, and clear about what is wrong."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import polars as pl
import pytest
from pydantic import SecretStr

from tasks.errors import LandingError, MissingCollection, SourceAuthError, SourceUnreachable
from tasks.extract import ExtractContext, extract_table
from tasks.landing import Landing
from tasks.mongodb import extract as module
from tests.fixtures.mongodb import Shop
from tests.line import Line

Keys = Callable[[pl.DataFrame], list[str]]


def test_a_full_read_lands_every_document_and_counts_what_it_saw(shop: Shop, keys: Keys) -> None:
    shop.database.orders.insert_many(
        [{"_id": number, "total": number, "note": None if number % 2 else ""} for number in range(10)]
        + [{"_id": "late", "total": "12.5"}]
    )
    manifest = shop.extract(shop.ref()).manifest
    rows = shop.rows(manifest)
    assert keys(rows) == sorted([*map(str, range(10)), "late"])
    assert rows.filter(pl.col("_id") == "late")["total|string"].to_list() == ["12.5"]
    assert rows["total|int"].sum() == 45
    assert manifest is not None
    assert manifest.scope.type == "snapshot"
    note = manifest.fields["note"]
    assert (note.present, note.types, note.empty) == (10, {"null": 5, "string": 5}, 5)
    assert manifest.rows_read - note.present == 1


def test_an_empty_collection_lands_an_empty_snapshot(shop: Shop) -> None:
    shop.database.create_collection("orders")
    manifest = shop.extract(shop.ref()).manifest
    assert manifest is not None
    assert (manifest.rows, manifest.parts, manifest.scope.type) == (0, [], "snapshot")


def test_filter_and_projection_are_carried_out_by_the_server(shop: Shop) -> None:
    shop.database.orders.insert_many(
        [{"_id": n, "channel": "test" if n % 2 else "web", "secret": "x", "a": {"b": 1, "c": 2}} for n in range(6)]
    )
    ref = shop.ref(filter={"channel": {"$ne": "test"}}, fields={"exclude": ["secret", "a.b"]})
    manifest = shop.extract(ref).manifest
    rows = shop.rows(manifest)
    assert sorted(rows["_id"]) == ["0", "2", "4"]
    assert set(rows.columns) == {"_id", "_hash", "_rescued", "channel|string", "a.c|int"}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [({"include": ["a.b", "a"]}, {"a.b|int", "a.at|int"}), ({"exclude": ["a.b.c", "a.b", "x"]}, {"a.at|int"})],
)
def test_a_field_within_another_one_that_is_named_is_no_collision(
    shop: Shop, fields: dict[str, list[str]], expected: set[str]
) -> None:
    shop.database.orders.insert_many([{"_id": n, "a": {"b": n, "at": n}, "x": 1} for n in range(3)])
    rows = shop.rows(shop.extract(shop.ref(mode="incremental", cursor="a.at", fields=fields)).manifest)
    assert set(rows.columns) - {"_id", "_hash", "_rescued"} == expected


def test_what_is_dropped_in_a_child_table_lands_nowhere(shop: Shop) -> None:
    shop.database.orders.insert_one({"_id": 1, "items": [{"sku": "s", "email": "a@x"}]})
    manifest = shop.extract(shop.ref(arrays={"items": "table"}, transforms=[{"drop": "items.email"}])).manifest
    assert set(shop.rows(manifest, "child", "items").columns).isdisjoint({"email|string"})
    assert shop.rows(manifest, "child", "items")["sku|string"].to_list() == ["s"]
    assert manifest is not None
    assert "a@x" not in manifest.model_dump_json()


def test_a_killed_extract_goes_on_with_the_ranges_that_are_missing(shop: Shop, keys: Keys) -> None:
    shop.database.orders.insert_many([{"_id": number, "v": number} for number in range(400)])
    ref = shop.ref(partitions=4)
    calls = itertools.count(1)

    def dies_at_the_third(rows: int) -> None:
        assert rows <= 200, "a range is told once"
        if next(calls) > 2:
            raise ConnectionResetError("killed")

    with pytest.raises(ConnectionResetError):
        shop.extract(ref, progress=dies_at_the_third)
    assert shop.batches() == []
    read: list[int] = []
    result = shop.extract(ref, progress=read.append)
    assert len(read) == 2 and sum(read) < 400, "finished ranges are not read again"
    assert keys(shop.rows(result.manifest)) == sorted(map(str, range(400)))
    assert "went on with batch" in result.warnings[0]


def test_a_batch_of_several_processes_is_joined_only_when_whole(shop: Shop, keys: Keys) -> None:
    shop.database.orders.insert_many([{"_id": number} for number in range(300)])
    ref = shop.ref(partitions=3)
    batch_id, count = module.plan_batch(ref, ExtractContext(shop.landing))
    assert count == 3
    for index in (0, 2):
        part = extract_table(ref, ExtractContext(shop.landing, segment=(index, count), batch_id=batch_id))
        assert part.manifest is None
    with pytest.raises(LandingError, match="1 of 3 ranges"):
        module.join_batch(ref, ExtractContext(shop.landing, batch_id=batch_id))
    assert shop.batches() == []
    extract_table(ref, ExtractContext(shop.landing, segment=(1, count), batch_id=batch_id))
    joined = module.join_batch(ref, ExtractContext(shop.landing, batch_id=batch_id)).manifest
    assert keys(shop.rows(joined)) == sorted(map(str, range(300)))


def test_a_table_of_one_range_is_read_anew_where_a_run_died_before_its_batch_was_whole(shop: Shop, keys: Keys) -> None:
    shop.database.orders.insert_many([{"_id": number} for number in range(3)])
    ref = shop.ref()
    batch_id, count = module.plan_batch(ref, ExtractContext(shop.landing))
    extract_table(ref, ExtractContext(shop.landing, segment=(0, count), batch_id=batch_id))
    shop.database.orders.delete_one({"_id": 0})
    shop.database.orders.insert_one({"_id": 3})
    assert keys(shop.rows(shop.extract(ref).manifest)) == ["1", "2", "3"]


def test_the_size_of_a_collection_decides_on_its_ranges_unless_one_is_asked_for(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.database.orders.insert_many([{"_id": number, "note": "x" * 1_000} for number in range(500)])
    monkeypatch.setattr(module, "RANGE_BYTES", 200_000)
    sizes: list[bytes] = []

    def note_sizes(answer: bytes) -> bytes:
        sizes.extend([answer] if b"storageSize" in answer else [])
        return answer

    line = Line(shop.uri, note_sizes)

    def ranges_of(**table: Any) -> int:
        ref = shop.ref(**table)
        source = ref.source.model_copy(update={"uri": SecretStr(line.uri)})
        return module.plan_batch(replace(ref, source=source), ExtractContext(shop.landing))[1]

    assert ranges_of() == 3
    assert ranges_of(partitions=2) == 3
    assert ranges_of(partitions=5) == 5
    assert len(sizes) == 3
    assert ranges_of(partitions=1) == 1
    assert len(sizes) == 3, "some servers count all documents for it"
    line.close()


def test_a_view_is_read_as_one_range(shop: Shop) -> None:
    shop.database.orders.insert_many([{"_id": number, "paid": number < 3} for number in range(6)])
    shop.database.command({"create": "paid_orders", "viewOn": "orders", "pipeline": [{"$match": {"paid": True}}]})
    rows = shop.rows(shop.extract(shop.ref("paid_orders", partitions=2)).manifest)
    assert sorted(rows["_id"]) == ["0", "1", "2"]


def test_a_rate_limit_holds_reading_back(shop: Shop) -> None:
    shop.database.orders.insert_many([{"_id": number} for number in range(300)])
    ref = shop.ref()
    gentle = type(ref)("shop", "orders", ref.source.model_copy(update={"documents_per_second": 300}), ref.table)
    result = extract_table(gentle, ExtractContext(shop.landing))
    assert result.manifest is not None
    assert result.manifest.seconds >= timedelta(seconds=0.9).total_seconds()


def test_a_missing_collection_is_named_with_what_comes_close(shop: Shop) -> None:
    shop.database.create_collection("ordres")
    with pytest.raises(MissingCollection, match="'orders' does not exist") as caught:
        shop.extract(shop.ref())
    assert "ordres" in caught.value.action


def test_an_unreachable_server_is_named_without_its_password(
    shop: Shop, landing_folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.mongodb.client.SERVER_SELECTION_MS", 300)
    dead = Shop("mongodb://someone:hunter2@127.0.0.1:9/?directConnection=true", "x", shop_folder(landing_folder))
    with pytest.raises(SourceUnreachable, match="did not answer") as caught:
        dead.extract(dead.ref())
    assert "hunter2" not in str(caught.value)


def test_refused_credentials_are_told_from_an_unreachable_server(shop: Shop) -> None:
    from pymongo.errors import OperationFailure

    from tasks.mongodb.client import translate

    error = translate(OperationFailure("Authentication failed.", code=18), "shop.orders")
    assert isinstance(error, SourceAuthError)


@pytest.fixture
def landing_folder(shop: Shop) -> str:
    assert isinstance(shop.landing, Landing)
    return shop.landing.root


def shop_folder(root: str) -> Any:
    from pathlib import Path

    return Path(root) / "dead"
