"""Reading by a cursor: nothing missed, nothing landed twice, and wrong cursors refused by name."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from bson.decimal128 import Decimal128
from bson.objectid import ObjectId
from bson.timestamp import Timestamp

from tasks.errors import CursorError
from tests.fixtures.mongodb import Shop

START = datetime(2026, 1, 1, tzinfo=UTC)


def day(number: float) -> datetime:
    return START + timedelta(days=number)


def seed(shop: Shop, count: int = 5) -> None:
    shop.database.orders.create_index("updated_at")
    shop.database.orders.insert_many([{"_id": number, "updated_at": day(number), "v": 0} for number in range(count)])


def test_only_what_moved_on_is_read_again(shop: Shop) -> None:
    seed(shop)
    ref = shop.ref(mode="incremental", cursor="updated_at")
    first = shop.extract(ref)
    assert sorted(shop.rows(first.manifest)["_id"]) == list("01234")
    assert first.warnings == ()
    assert shop.extract(ref).manifest is None, "nothing new, nothing landed"
    shop.database.orders.update_one({"_id": 1}, {"$set": {"updated_at": day(9), "v": 1}})
    shop.database.orders.insert_one({"_id": 7, "updated_at": day(8), "v": 1})
    again = shop.extract(ref).manifest
    assert sorted(shop.rows(again)["_id"]) == ["1", "7"]
    assert again is not None
    assert again.window["from"].startswith("2026-01-05")


def test_documents_that_share_the_boundary_value_are_not_lost(shop: Shop) -> None:
    shop.database.orders.insert_many([{"_id": number, "updated_at": day(1)} for number in range(50)])
    ref = shop.ref(mode="incremental", cursor="updated_at")
    assert shop.rows(shop.extract(ref).manifest).height == 50
    shop.database.orders.insert_many([{"_id": number, "updated_at": day(1)} for number in range(50, 70)])
    late = shop.rows(shop.extract(ref).manifest)
    assert sorted(map(int, late["_id"])) == list(range(50, 70)), "new ones at the same instant, old ones not again"


def test_lag_reads_again_what_was_written_late(shop: Shop) -> None:
    seed(shop)
    ref = shop.ref(mode="incremental", cursor="updated_at", lag="36h")
    shop.extract(ref)
    shop.database.orders.insert_one({"_id": 90, "updated_at": day(2.9)})
    shop.database.orders.insert_one({"_id": 91, "updated_at": day(1.0)})
    assert shop.rows(shop.extract(ref).manifest)["_id"].to_list() == ["90"]


def test_a_document_that_changes_while_the_run_reads_belongs_to_the_next_run(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks.mongodb import extract as module

    seed(shop)
    ref = shop.ref(mode="incremental", cursor="updated_at")
    shop.extract(ref)
    shop.database.orders.update_one({"_id": 0}, {"$set": {"updated_at": day(10)}})
    real = module.Reader.find

    def write_meanwhile(reader: module.Reader, *args: object, **kwargs: object) -> object:
        shop.database.orders.update_one({"_id": 1}, {"$set": {"updated_at": day(11)}})
        return real(reader, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(module.Reader, "find", write_meanwhile)
    assert shop.rows(shop.extract(ref).manifest)["_id"].to_list() == ["0"]
    monkeypatch.setattr(module.Reader, "find", real)
    assert shop.rows(shop.extract(ref).manifest)["_id"].to_list() == ["1"]


@pytest.mark.parametrize(("policy", "expected"), [("include", ["0", "1", "8", "9"]), ("exclude", ["0", "1"])])
def test_documents_without_cursor_follow_the_policy(shop: Shop, policy: str, expected: list[str]) -> None:
    seed(shop, 2)
    shop.database.orders.insert_many([{"_id": 8}, {"_id": 9, "updated_at": None}])
    ref = shop.ref(mode="incremental", cursor="updated_at", missing_cursor=policy)
    assert sorted(shop.rows(shop.extract(ref).manifest)["_id"]) == expected


def test_a_missing_cursor_is_an_error_that_names_a_document(shop: Shop) -> None:
    seed(shop, 2)
    shop.database.orders.insert_one({"_id": "lost"})
    with pytest.raises(CursorError, match="missing or null .* 'lost'"):
        shop.extract(shop.ref(mode="incremental", cursor="updated_at"))
    assert shop.batches() == []


def test_a_cursor_of_two_types_is_an_error_that_names_both(shop: Shop) -> None:
    seed(shop, 2)
    shop.database.orders.insert_one({"_id": "odd", "updated_at": "2026-01-09"})
    with pytest.raises(CursorError, match="a string in _id 'odd' and a date in _id"):
        shop.extract(shop.ref(mode="incremental", cursor="updated_at"))


def test_a_cursor_that_changed_type_since_the_last_run_is_an_error(shop: Shop) -> None:
    seed(shop, 2)
    ref = shop.ref(mode="incremental", cursor="updated_at")
    shop.extract(ref)
    shop.database.orders.update_many({}, [{"$set": {"updated_at": {"$toLong": "$updated_at"}}}])
    with pytest.raises(CursorError, match="was a date and is now a number"):
        shop.extract(ref)


def test_a_cursor_without_index_is_a_warning(shop: Shop) -> None:
    shop.database.orders.insert_one({"_id": 1, "seq": 5})
    result = shop.extract(shop.ref(mode="incremental", cursor="seq"))
    assert "has no index" in result.warnings[0]


def test_a_number_as_cursor(shop: Shop) -> None:
    shop.database.orders.insert_many([{"_id": number, "seq": number} for number in range(5)])
    ref = shop.ref(mode="incremental", cursor="seq")
    shop.extract(ref)
    shop.database.orders.insert_one({"_id": 5, "seq": 4.5})
    assert shop.rows(shop.extract(ref).manifest)["_id"].to_list() == ["5"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (Decimal128("9"), Decimal128("10")),
        (9, Decimal128("10.5")),
        (Decimal128("9"), 10),
        (Timestamp(1_700_000_000, 9), Timestamp(1_700_000_000, 10)),
        (ObjectId("0" * 24), ObjectId("1" * 24)),
        ("9", "95"),
    ],
)
def test_a_cursor_of_any_kind_moves_on_in_the_order_of_the_server(shop: Shop, before: object, after: object) -> None:
    shop.database.orders.insert_one({"_id": "old", "seq": before})
    ref = shop.ref(mode="incremental", cursor="seq")
    shop.extract(ref)
    shop.database.orders.insert_one({"_id": "new", "seq": after})
    assert "new" in shop.rows(shop.extract(ref).manifest)["_id"].to_list()


@pytest.mark.parametrize("number", [float("nan"), Decimal128("NaN")])
def test_a_cursor_that_is_no_number_is_an_error_that_names_a_document(shop: Shop, number: object) -> None:
    shop.database.orders.insert_many([{"_id": 1, "seq": 1.0}, {"_id": "lost", "seq": number}])
    with pytest.raises(CursorError, match="NaN .* 'lost'"):
        shop.extract(shop.ref(mode="incremental", cursor="seq"))


def test_the_sweep_lists_every_id_so_that_deleted_ones_show(shop: Shop) -> None:
    seed(shop)
    ref = shop.ref(mode="incremental", cursor="updated_at", deletes="sweep")
    first = shop.extract(ref).manifest
    assert sorted(shop.rows(first, "ids")["_id"]) == list("01234")
    shop.database.orders.delete_one({"_id": 3})
    second = shop.extract(ref).manifest
    assert shop.rows(second).height == 0
    assert sorted(shop.rows(second, "ids")["_id"]) == list("0124")
    shop.database.orders.delete_many({})
    third = shop.extract(ref).manifest
    assert third is not None
    assert [part.kind for part in third.parts] == ["ids"], "an empty list says that all are gone"
