"""Others on the same rows at the same time: real deadlocks, serialization failures, and two loaders of one table."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from tasks import checkpoints, database
from tasks.bronze import load
from tasks.bronze.postgres import merge
from tasks.errors import LoadError
from tests.fixtures.bronze import Warehouse


@pytest.fixture
def retried(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the errors after which a load was tried again."""
    found: list[str] = []
    real = load.load_with

    def noting(*arguments: Any, **options: Any) -> Any:
        try:
            return real(*arguments, **options)
        except psycopg.Error as error:
            found.append(type(error).__name__)
            raise

    monkeypatch.setattr(load, "load_with", noting)
    return found


def waits(url: str, pid: int) -> bool:
    """Return whether a session waits for a lock."""
    with psycopg.connect(url) as connection:
        row = connection.execute("select cardinality(pg_blocking_pids(%s)) > 0", [pid]).fetchone()
        return bool(row and row[0])


def test_a_real_deadlock_is_tried_again(
    warehouse: Warehouse,
    monkeypatch: pytest.MonkeyPatch,
    retried: list[str],
) -> None:
    warehouse.load([{"_id": 1, "v": 1}, {"_id": 2, "v": 1}])
    manifest = warehouse.land([{"_id": 1, "v": 2}, {"_id": 2, "v": 2}])
    real = merge.update_rows
    with ThreadPoolExecutor(1) as pool, psycopg.connect(warehouse.url) as other:
        # The other does not look for deadlocks while it waits, so the loader is the one that Postgres gives up.
        other.execute("set deadlock_timeout = '1h'")
        other.execute("update bronze.shop__orders set v = 0 where _id = '2'")
        crossed: list[Any] = []

        def cross(cursor: Any, *arguments: Any) -> int:
            if not crossed:
                cursor.execute("select from bronze.shop__orders where _id = '1' for update")
                crossed.append(pool.submit(other.execute, "update bronze.shop__orders set v = 0 where _id = '1'"))
                while not waits(warehouse.url, other.info.backend_pid):
                    threading.Event().wait(0.01)
            return real(cursor, *arguments)

        monkeypatch.setattr(merge, "update_rows", cross)
        loading = threading.Thread(target=lambda: crossed.append(warehouse.load_landed(manifest)))
        loading.start()
        while not crossed:
            threading.Event().wait(0.01)
        crossed[0].result()
        other.rollback()
        loading.join()
    assert retried == ["DeadlockDetected"]
    assert (crossed[1].status, crossed[1].updated) == ("loaded", 2)
    assert warehouse.rows("select _id, v from bronze.shop__orders order by 1") == [("1", 2), ("2", 2)]
    assert warehouse.value("select version from ops.checkpoints") == 2


def test_a_real_serialization_failure_is_tried_again(
    warehouse: Warehouse,
    monkeypatch: pytest.MonkeyPatch,
    retried: list[str],
) -> None:
    # A database whose owner made every transaction serializable.
    name = warehouse.url.rsplit("/", 1)[1]
    warehouse.load([{"_id": 1, "v": 1}])
    warehouse.execute(f"alter database {name} set default_transaction_isolation = 'repeatable read'")
    manifest = warehouse.land([{"_id": 1, "v": 2}])
    real = merge.update_rows

    def overtaken(*arguments: Any) -> int:
        if not retried:
            warehouse.execute("update bronze.shop__orders set v = 0 where _id = '1'")
        return real(*arguments)

    monkeypatch.setattr(merge, "update_rows", overtaken)
    assert warehouse.load_landed(manifest).updated == 1
    assert retried == ["SerializationFailure"]
    assert warehouse.rows("select v from bronze.shop__orders") == [(2,)]


def test_two_batches_of_one_table_at_once_end_as_one_after_the_other(warehouse: Warehouse) -> None:
    manifests = [warehouse.land([{"_id": n, f"f{number}": number} for n in range(50)]) for number in range(6)]
    warehouse.load_landed(manifests[0])
    with ThreadPoolExecutor(5) as pool:
        found = list(pool.map(warehouse.load_landed, manifests[1:]))
    assert {result.status for result in found} == {"loaded"}
    # Of rows that several batches hold the latest read stays, in whatever order they came to their turn.
    values = warehouse.rows("select distinct f5, _batch_id from bronze.shop__orders")
    assert values == [(5, manifests[5].batch_id)]
    assert warehouse.value("select batch_id from ops.checkpoints") == manifests[5].batch_id
    appeared = [field for field, change in warehouse.changes() if change == "appeared"]
    assert sorted(appeared) == [f"f{number}" for number in range(6)]


def test_a_loader_steps_back_when_another_holds_the_table_for_too_long(
    warehouse: Warehouse,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(load, "TABLE_LOCK_WAIT", "200ms")
    manifest = warehouse.land([{"_id": 1}])
    with database.connect(warehouse.url) as other:
        other.execute("select pg_advisory_lock(hashtextextended(%s, 0))", [checkpoints.lock_key("shop", "orders")])
        with pytest.raises(LoadError, match="another load of this table is running") as refused:
            warehouse.load_landed(manifest)
        assert refused.value.where == "shop.orders"
    assert warehouse.load_landed(manifest).status == "loaded"


def test_no_checkpoint_of_several_writers_at_once_is_lost(warehouse: Warehouse) -> None:
    warehouse.load([{"_id": 0}])
    manifests = [warehouse.land([{"_id": number}]) for number in range(1, 5)]

    def rewind(number: int) -> None:
        with database.connect(warehouse.url, autocommit=True) as connection:
            checkpoints.rewind(connection, "shop", "orders", {"rewound": number})

    with ThreadPoolExecutor(8) as pool:
        writers = [pool.submit(rewind, number) for number in range(4)]
        writers += [pool.submit(warehouse.load_landed, manifest) for manifest in manifests]
        for writer in writers:
            writer.result()
    history = warehouse.rows("select version, cause, state from ops.checkpoint_history order by version")
    assert [version for version, *_ in history] == list(range(1, len(history) + 1))
    assert sorted(state["rewound"] for _, cause, state in history if cause == "rewind") == [0, 1, 2, 3]
    assert warehouse.rows("select version, state from ops.checkpoints") == [(history[-1][0], history[-1][2])]
    # Batches were read before the rewinds: once one is done none of them may move the checkpoint again.
    causes = [cause for _, cause, _ in history]
    assert "load" not in causes[causes.index("rewind") :]
    assert warehouse.value("select count(*) from bronze.shop__orders") == 5
