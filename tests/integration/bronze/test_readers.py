"""Readers go on while columns change and rows are merged, and wait for no more than a moment."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from tasks.bronze.postgres import ddl, merge, stage
from tasks.mongodb.config import MongoTable
from tests.fixtures.bronze import Warehouse


def test_a_reader_delays_the_change_of_columns_and_is_not_blocked(warehouse: Warehouse) -> None:
    warehouse.load([{"_id": 1, "a": 1}])
    manifest = warehouse.land([{"_id": 2, "a": 1, "b": 1}])
    with psycopg.connect(warehouse.url) as reader:
        reader.execute("select count(*) from bronze.shop__orders")
        loading = threading.Thread(target=warehouse.load_landed, args=(manifest,))
        loading.start()
        waiting = "select count(*) from pg_locks where not granted and relation = 'bronze.shop__orders'::regclass"
        while warehouse.value(waiting) == 0 and loading.is_alive():
            threading.Event().wait(0.01)
        # A second reader waits no longer than the short lock timeout of one attempt.
        with psycopg.connect(warehouse.url, options="-c statement_timeout=2500") as second:
            assert second.execute("select count(*) from bronze.shop__orders").fetchone() == (1,)
        reader.rollback()
        loading.join()
    assert warehouse.column_type("b") == "bigint"


# Postgres locks what a query names in that order, and the table below a view after it.
@pytest.mark.parametrize(
    "query",
    [
        "select sum(a), (select sum(a) from stg), (select sum(b) from stg) from bronze.shop__orders",
        "select sum(a), sum(a), sum(b) from stg",
    ],
    ids=["both", "view"],
)
def test_readers_of_the_table_and_of_a_view_go_on_while_rows_with_new_and_wider_columns_are_merged(
    warehouse: Warehouse, query: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    warehouse.load([{"_id": n, "a": 1, "b": n, "c": n} for n in range(2_000)])
    warehouse.execute("create view stg as select * from bronze.shop__orders")
    manifest = warehouse.land([{"_id": n, "a": 2, "b": n + 0.5, "c": n + 0.5, "d": "new"} for n in range(2_000)])
    merging, enough, ended = threading.Event(), threading.Event(), threading.Event()
    seen: list[Any] = []

    def read() -> None:
        # The merge goes on only once the reader has read: a lock held through it would outlast any limit, and a short
        # one would be missed on a busy machine. A prepared plan outlives no change of type.
        limits = "-c lock_timeout=10s"
        with psycopg.connect(warehouse.url, autocommit=True, options=limits, prepare_threshold=None) as reader:
            while not ended.is_set():
                during = merging.is_set()
                found = reader.execute(query).fetchone()
                if during:
                    seen.append(found)
                if len(seen) == 10:
                    enough.set()

    real = merge.update_rows

    def update_and_wait(*arguments: Any) -> int:
        updated = real(*arguments)
        merging.set()
        assert enough.wait(60)
        merging.clear()
        return updated

    monkeypatch.setattr(merge, "update_rows", update_and_wait)
    with ThreadPoolExecutor(1) as pool:
        reads = pool.submit(read)
        reads.add_done_callback(lambda _: enough.set())
        try:
            assert warehouse.load_landed(manifest).updated == 2_000
        finally:
            ended.set()
        reads.result()
    old = sum(range(2_000))
    assert seen[:10] == [(2_000, 2_000, old)] * 10
    assert warehouse.rows("select sum(a), sum(b) from stg") == [(4_000, old + 1_000)]
    assert [warehouse.column_type(name) for name in "bcd"] == ["double precision", "double precision", "text"]
    changes = warehouse.rows(
        "select field, change from ops.schema_changes where batch_id = %s order by 1", manifest.batch_id
    )
    assert changes == [("a", "constant_changed"), ("b", "widened"), ("c", "widened"), ("d", "appeared")]
    assert warehouse.value("select schema_changes from ops.batches order by batch_id desc limit 1") == 4


@pytest.mark.parametrize("value", [1, 0.5], ids=["added", "widened"])
def test_who_reads_the_history_before_the_table_delays_a_change_of_both_and_no_other_reader(
    warehouse: Warehouse, value: float
) -> None:
    warehouse.table = MongoTable(history=True)
    warehouse.load([{"_id": 1, "a": 1}])
    manifest = warehouse.land([{"_id": 2, "a": value, "b": 1}])
    limits = "-c lock_timeout=2500 -c deadlock_timeout=10s"
    with ThreadPoolExecutor(1) as pool, psycopg.connect(warehouse.url, options=limits) as reader:
        reader.execute("select count(*) from bronze.shop__orders__history")
        loading = pool.submit(warehouse.load_landed, manifest)
        waiting = "select count(*) from pg_locks where not granted and mode = 'AccessExclusiveLock'"
        while warehouse.value(waiting) == 0 and not loading.done():
            threading.Event().wait(0.01)
        with psycopg.connect(warehouse.url, options=limits) as second:
            assert second.execute("select count(*) from bronze.shop__orders").fetchone() == (1,)
        assert reader.execute("select count(*) from bronze.shop__orders").fetchone() == (1,)
        assert not loading.done()
        reader.rollback()
        assert loading.result().inserted == 1
    for relation in ("shop__orders", "shop__orders__history"):
        assert warehouse.column_type("b", relation) == "bigint"
        assert warehouse.column_type("a", relation) == ("bigint" if value == 1 else "double precision")


def test_waiting_for_one_lock_after_another_takes_no_longer_than_for_one(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ddl, "LOCK_WAIT_MS", 4_000)
    warehouse.table = MongoTable(history=True)
    warehouse.load([{"_id": 1, "a": 1}])
    manifest = warehouse.land([{"_id": 2, "a": 1, "b": 1}])
    locks = "select {} from pg_locks where mode = 'AccessExclusiveLock' and relation = 'bronze.shop__orders'::regclass"
    waited = locks.format("clock_timestamp() - min(waitstart) > interval '3 s', clock_timestamp()")
    with ThreadPoolExecutor(1) as pool, psycopg.connect(warehouse.url) as one, psycopg.connect(warehouse.url) as other:
        one.execute("select from bronze.shop__orders")
        other.execute("select from bronze.shop__orders__history")
        loading = pool.submit(warehouse.load_landed, manifest)
        # Nearly all of the time is spent on the table; the history then has what is left of it.
        while not (found := warehouse.rows(waited)[0])[0]:
            threading.Event().wait(0.01)
        one.rollback()
        while (count := warehouse.rows(locks.format("count(*), clock_timestamp()"))[0])[0]:
            threading.Event().wait(0.01)
        assert (count[1] - found[1]).total_seconds() < 3
        other.rollback()
        assert loading.result().inserted == 1


@pytest.mark.usefixtures("encoder")
def test_readers_of_a_table_that_was_emptied_go_on_while_it_is_filled_again(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    warehouse.table = MongoTable(arrays={"items": "table"})
    documents = [{"_id": n, "a": n, "items": [{"k": n}]} for n in range(3)]
    warehouse.load(documents)
    warehouse.execute("truncate bronze.shop__orders, bronze.shop__orders__items")
    manifest = warehouse.land(documents)
    seen: list[Any] = []
    real = stage.copy_rows

    def copy_and_read(*arguments: Any, **options: Any) -> None:
        real(*arguments, **options)
        with psycopg.connect(warehouse.url, options="-c lock_timeout=2s") as reader:
            query = "select count(*) from bronze.shop__orders__items c join bronze.shop__orders t on t._id = c._root_id"
            seen.append(reader.execute(query).fetchone())

    monkeypatch.setattr(stage, "copy_rows", copy_and_read)
    result = warehouse.load_landed(manifest)
    assert (result.plan, seen) == ("first", [(0,), (0,)])
    for relation in ("shop__orders", "shop__orders__items"):
        query = f"select distinct _batch_id, _extracted_at, _loaded_at > _extracted_at from bronze.{relation}"
        assert warehouse.rows(query) == [(manifest.batch_id, manifest.extracted_at, True)]


def test_readers_of_a_table_and_its_child_let_columns_of_both_be_added(warehouse: Warehouse) -> None:
    warehouse.table = MongoTable(arrays={"items": "table"})
    warehouse.load([{"_id": n, "items": [{"k": 1}]} for n in range(2_000)])
    manifest = warehouse.land([{"_id": 1, "a": 1, "items": [{"k": 1, "b": 1}]}])
    begun, ended = threading.Event(), threading.Event()

    def read() -> None:
        query = "select count(*) from bronze.shop__orders__items c join bronze.shop__orders t on t._id = c._root_id"
        with psycopg.connect(warehouse.url, autocommit=True, options="-c lock_timeout=10s") as reader:
            while not ended.is_set():
                assert reader.execute(query).fetchone() == (2_000,)
                begun.set()

    with ThreadPoolExecutor(1) as pool:
        reads = pool.submit(read)
        reads.add_done_callback(lambda _: begun.set())
        try:
            assert begun.wait(60)
            assert warehouse.load_landed(manifest).updated == 1
        finally:
            ended.set()
        reads.result()


def test_a_new_table_is_loaded_while_another_new_one_is_still_filled(
    warehouse: Warehouse, another: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    filling, free = threading.Event(), threading.Event()
    real = ddl.create_relation

    def create_and_wait(cursor: Any, name: str, *arguments: Any, **options: Any) -> None:
        real(cursor, name, *arguments, **options)
        if name == "shop__orders":
            filling.set()
            assert free.wait(60)

    monkeypatch.setattr(ddl, "create_relation", create_and_wait)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(warehouse.load, [{"_id": 1}])
        try:
            assert filling.wait(60)
            # The name of the other table is chosen under a lock of all names, which the load must have given back.
            other = another("shop", "other")
            assert other.load([{"_id": 1}]).status == "loaded"
        finally:
            free.set()
        assert slow.result().status == "loaded"
