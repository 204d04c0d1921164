"""A reset keeps old rows readable until what is read anew takes their place, whichever run brings it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import bson
import psycopg
import pytest

from tasks import checkpoints, database
from tasks.bronze.load import Loader
from tasks.bronze.pending import load_pending
from tasks.bronze.rebuild import rebuild_table
from tasks.bronze.rejects import replay
from tasks.bronze.reset import begin_reset, is_complete, plan_reset
from tasks.errors import LoadError
from tasks.mongodb.config import MongoSource, MongoTable
from tasks.ops.migrations import migrate
from tasks.settings import Settings
from tasks.sources import OnDrift, TableRef
from tests.fixtures.bronze import Warehouse, with_table

TABLE = {"mode": "incremental", "cursor": "at", "arrays": {"items": "table"}, "history": True}


class Shop:
    """A table that is read by a cursor, its warehouse, and what its source holds."""

    def __init__(self, warehouse: Warehouse) -> None:
        self.warehouse = warehouse
        self.configure(**TABLE)
        self.settings = Settings.model_validate({"url": warehouse.url, "landing": warehouse.landing.root})
        with database.connect(warehouse.url, autocommit=True) as connection:
            migrate(connection)

    def configure(self, **table: Any) -> None:
        self.warehouse.table = MongoTable.model_validate(table)
        source = MongoSource.model_validate(
            {"kind": "mongodb", "uri": "mongodb://nowhere", "database": "shop", "tables": {"orders": {}}}
        )
        self.ref = TableRef("shop", "orders", source, self.warehouse.table)

    def reset(self, since: str | None = None) -> Any:
        return begin_reset(self.ref, self.settings, since, asked_by="a person", why="the query was wrong")

    def read(self, documents: list[Any], **options: Any) -> Any:
        """Land what a run would read now."""
        row = self.warehouse.rows("select state from ops.checkpoints")
        return self.warehouse.land(documents, **{"previous": row[0][0] if row else {}, **options})

    def load(self) -> list[str]:
        return [result.status for result in load_pending(self.ref, self.settings)]

    def run(self, documents: list[Any], **options: Any) -> list[str]:
        self.read(documents, **options)
        return self.load()

    def is_complete(self) -> bool:
        return is_complete(self.ref, self.settings)

    def ids(self) -> list[str]:
        query = "select _id from bronze.shop__orders where _deleted_at is null order by 1"
        return [row[0] for row in self.warehouse.rows(query)]


@pytest.fixture
def shop(warehouse: Warehouse) -> Shop:
    return Shop(warehouse)


def order(number: int, **more: Any) -> dict[str, Any]:
    return {"_id": number, "v": number, "items": [{"k": number}], **more}


def test_old_rows_are_read_until_the_new_ones_take_their_place(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.run([order(n) for n in range(2_000)])
    shop.warehouse.execute("create view above as select t._id, k from bronze.shop__orders t"
                           " join bronze.shop__orders__items c on c._root_id = t._id")  # fmt: skip
    assert (shop.reset().live, shop.is_complete()) == (2_000, False)
    shop.read([order(n, new="x") for n in range(1, 2_001)])
    seen: set[Any] = set()
    loaded, ended = threading.Event(), threading.Event()
    enough = threading.Event()

    def read() -> None:
        count = 0
        with psycopg.connect(shop.warehouse.url, autocommit=True, options="-c lock_timeout=5s") as reader:
            while not ended.is_set():
                seen.add(reader.execute("select count(*), min(k), max(k) from above").fetchone())
                count += loaded.is_set()
                if count == 20:
                    enough.set()

    real = Loader.write

    def write(loader: Loader) -> Any:
        result = real(loader)
        loaded.set()
        # A lock that is held until the end would keep the reader from it.
        assert enough.wait(60)
        return result

    monkeypatch.setattr(Loader, "write", write)
    with ThreadPoolExecutor(1) as pool:
        reads = pool.submit(read)
        reads.add_done_callback(lambda _: enough.set())
        try:
            assert shop.load() == ["loaded"]
        finally:
            ended.set()
        reads.result()
    assert seen <= {(2_000, 0, 1_999), (2_000, 1, 2_000)} and (2_000, 0, 1_999) in seen
    assert shop.warehouse.rows("select count(*), min(k), max(k) from above") == [(2_000, 1, 2_000)]
    assert shop.warehouse.rows("select count(*), count(new) from bronze.shop__orders") == [(2_000, 2_000)]
    assert shop.is_complete()
    assert shop.warehouse.rows("select asked_by, why, batch_id is not null from ops.resets") == [
        ("a person", "the query was wrong", True)
    ]
    assert shop.run([order(5, v=50)]) == ["loaded"]
    assert shop.warehouse.rows("select v from bronze.shop__orders where _id = '5'") == [(50,)]


def test_versions_go_on_from_a_reset(shop: Shop) -> None:
    shop.run([order(1), order(2), order(3)])
    shop.reset()
    shop.run([order(1), order(2, v=20), order(4)])
    assert shop.warehouse.rows(
        "select _id, v, _valid_to is null from bronze.shop__orders__history order by _id, _valid_from"
    ) == [("1", 1, True), ("2", 2, False), ("2", 20, True), ("3", 3, False), ("4", 4, True)]


def test_a_reset_that_is_asked_for_again_goes_on_and_doubles_nothing(shop: Shop) -> None:
    shop.run([order(1), order(2)])
    shop.read([order(3)])
    assert len(shop.reset().waiting) == 1
    landed = shop.read([order(1)])
    again = shop.reset()
    assert (again.resumed, again.waiting) == (True, ())
    assert shop.warehouse.landing.batches("shop", "orders")[-1] == landed.batch_id
    assert shop.load() == ["loaded"] and shop.ids() == ["1"]
    assert shop.warehouse.value("select count(*) from ops.resets") == 1
    # Another one is another one.
    assert not shop.reset().resumed


def test_a_batch_that_was_read_before_neither_moves_the_checkpoint_nor_takes_the_place_of_all(shop: Shop) -> None:
    shop.run([order(1), order(2)])
    late = shop.read([order(2, v=20)])
    shop.warehouse.landing.delete("shop", "orders", late.batch_id)
    shop.reset()
    # Its extraction was still going on, from the old state.
    shop.run([order(2, v=21)], previous=late.previous_checkpoint)
    assert shop.ids() == ["1", "2"] and shop.warehouse.value("select state from ops.checkpoints") == {}
    assert not shop.is_complete()
    shop.run([order(2, v=22)])
    assert shop.warehouse.rows("select _id, v from bronze.shop__orders") == [("2", 22)]
    assert shop.warehouse.value("select state from ops.checkpoints") != {}


def test_since_a_time_only_what_is_read_again_changes(shop: Shop) -> None:
    shop.run([order(1), order(2)])
    assert not shop.reset("2026-01-01").replaces
    shop.warehouse.execute("update ops.checkpoints set rewound_at = '2026-01-01'")
    shop.run([order(2, v=20)])
    assert shop.warehouse.rows("select _id, v from bronze.shop__orders order by 1") == [("1", 1), ("2", 20)]
    assert shop.warehouse.rows("select since, batch_id is not null from ops.resets") == [("2026-01-01", True)]
    shop.reset("2026-01-01")
    # Nothing was read since.
    assert shop.is_complete()
    assert shop.warehouse.value("select count(*) from ops.resets where ended_at is null") == 0


def test_a_checkpoint_that_is_set_later_takes_the_place_of_a_reset(shop: Shop) -> None:
    shop.run([order(1), order(2)])
    shop.reset()
    with database.connect(shop.warehouse.url, autocommit=True) as connection:
        checkpoints.rewind(connection, "shop", "orders", {})
    shop.run([order(2, v=20)])
    assert shop.ids() == ["1", "2"] and not shop.is_complete()


def test_rows_whose_documents_became_unreadable_stay(shop: Shop) -> None:
    shop.run([order(1), order(2), order(3)])
    shop.reset()
    bad = bson.encode({**order(2), "odd": True}).replace(b"\x08odd\x00", b"\x7eodd\x00")
    shop.run([order(1), bad])
    assert shop.ids() == ["1", "2"]
    assert shop.warehouse.rows("select _root_id, k from bronze.shop__orders__items order by 1") == [("1", 1), ("2", 2)]
    # A replay holds only rejects, and begins where its batch did.
    shop.reset()
    assert replay(shop.ref, shop.settings).refused == 1
    assert shop.ids() == ["1", "2"]


@pytest.mark.parametrize("history", [True, False])
def test_a_materialized_view_keeps_its_relation_and_readers_their_rows(shop: Shop, history: bool) -> None:
    shop.configure(**TABLE | {"history": history})
    shop.run([order(1), order(2)])
    shop.warehouse.execute("create materialized view frozen as select count(*) from bronze.shop__orders")
    shop.reset()
    bad = bson.encode({**order(2), "odd": True}).replace(b"\x08odd\x00", b"\x7eodd\x00")
    shop.read([order(3), bad])
    [result] = load_pending(shop.ref, shop.settings)
    assert "materialized view" in result.warnings[-1] and shop.ids() == ["2", "3"]
    assert shop.warehouse.rows("select k from bronze.shop__orders__items order by 1") == [(2,), (3,)]
    assert shop.warehouse.rows("select nspname from pg_namespace where nspname like '%%next%%'") == []


def test_a_read_that_cannot_be_loaded_leaves_the_old_rows_and_the_reset(shop: Shop) -> None:
    shop.configure(**TABLE | {"on_drift": OnDrift(new="fail")})
    shop.run([order(1), order(2)])
    shop.reset()
    shop.read([order(3, surprise=True)])
    with pytest.raises(LoadError, match="fields appeared"):
        shop.load()
    assert shop.ids() == ["1", "2"] and not shop.is_complete()


def test_an_empty_source_empties_the_table_at_once(shop: Shop) -> None:
    shop.run([order(1)])
    shop.reset()
    shop.run([])
    assert shop.ids() == [] and shop.is_complete()
    assert shop.run([order(2)]) == ["loaded"] and shop.ids() == ["2"]
    # A rebuild starts from there.
    assert len(rebuild_table(shop.ref, shop.settings)) == 2 and shop.ids() == ["2"]


def test_a_plan_changes_nothing(shop: Shop) -> None:
    shop.run([order(1), order(2)])
    shop.read([order(3)])
    before = shop.warehouse.rows("select * from ops.checkpoints"), shop.warehouse.landing.batches("shop", "orders")
    found = plan_reset(shop.ref, shop.settings, estimate=False)
    assert (found.live, found.replaces, len(found.waiting), found.resumed) == (2, True, 1, False)
    assert (
        shop.warehouse.rows("select * from ops.checkpoints"),
        shop.warehouse.landing.batches("shop", "orders"),
    ) == before


def test_reset_is_not_held_up_by_a_batch_that_could_not_be_loaded(warehouse: Warehouse, place: Any) -> None:
    warehouse.table = MongoTable(on_drift=OnDrift(new="fail"))
    ref = with_table(place, warehouse.table)
    loaded = warehouse.land([{"_id": 1}])
    warehouse.load_landed(loaded)
    warehouse.land([{"_id": 2, "new": 1}])
    assert begin_reset(ref, place[1]).live == 1
    assert warehouse.landing.batches("shop", "orders") == [loaded.batch_id]
    again = warehouse.land([{"_id": 1}, {"_id": 2}], previous={})
    assert [result.batch_id for result in load_pending(ref, place[1])] == [again.batch_id]
    assert warehouse.rows("select _id from bronze.shop__orders order by 1") == [("1",), ("2",)]
