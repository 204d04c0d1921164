"""Loaders killed, cut off and doubled at any statement: afterwards bronze equals the source, as does the checkpoint.

A loader runs in a process of its own that counts its statements and stops before, or after, a chosen one; there it is
killed, or its connection is. Then the batch is loaded again, as the next run would.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tasks.errors import WarehouseUnreachable
from tasks.sources import MongoTable
from tests.integration.bronze.conftest import Warehouse, landing, warehouse  # noqa: F401 - fixtures

TABLE = {"arrays": {"items": "table"}, "history": True}
SNAPSHOT = {"type": "snapshot"}

# Stops at statement N by telling its parent over a pipe and waiting to be killed: no time is guessed.
_LOADER = textwrap.dedent(
    """
    import contextlib, json, sys
    import psycopg
    from tasks import database
    from tasks.bronze import load_batch
    from tasks.landing import Landing
    from tasks.sources import MongoTable

    url, root, batch, stop, when, table = sys.argv[1:]
    count = 0

    def at(moment):
        if when == moment and count == int(stop):
            print("stopped", flush=True)
            sys.stdin.readline()

    class Counting(psycopg.Cursor):
        def execute(self, *arguments, **options):
            global count
            count += 1
            at("before")
            found = super().execute(*arguments, **options)
            at("after")
            return found

        @contextlib.contextmanager
        def copy(self, *arguments, **options):
            global count
            count += 1
            at("before")
            with super().copy(*arguments, **options) as copy:
                yield copy
            at("after")

    connect = psycopg.connect
    psycopg.connect = lambda *a, **k: connect(*a, **k, cursor_factory=Counting)
    landing = Landing.open(root)
    result = load_batch(url, landing, landing.manifest("shop", "orders", batch), MongoTable(**json.loads(table)))
    print(json.dumps({"status": result.status, "statements": count}), flush=True)
    """
)


def start(warehouse: Warehouse, batch_id: str, stop: int = 0, when: str = "none") -> subprocess.Popen[str]:  # noqa: F811
    import json

    arguments = [warehouse.url, warehouse.landing.root, batch_id, str(stop), when, json.dumps(TABLE)]
    return subprocess.Popen(
        [sys.executable, "-c", _LOADER, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    )


def documents(version: int) -> list[dict[str, Any]]:
    found = [{"_id": n, "v": n * version, "items": [{"k": version}] * (n % 3)} for n in range(30 + version)]
    return [
        document | ({"new": 1, "v": 0.5} if version > 1 else {}) for document in found if document["_id"] != version
    ]


def contents(warehouse: Warehouse) -> dict[str, Any]:  # noqa: F811
    return {
        "rows": warehouse.rows("select _id, v, _deleted_at is null, _batch_id from bronze.shop__orders order by 1"),
        "items": warehouse.rows("select _id, k, _deleted_at is null from bronze.shop__orders__items order by 1"),
        "history": warehouse.rows(
            "select _id, v, _valid_from, _valid_to from bronze.shop__orders__history order by 1, 3"
        ),
        "checkpoint": warehouse.rows("select state, version, batch_id from ops.checkpoints"),
        "batches": warehouse.rows(
            "select batch_id, status, rows_inserted, rows_updated, rows_deleted from ops.batches order by 1"
        ),
        "changes": sorted(warehouse.changes()),
        "columns": warehouse.rows("select child, path, column_name, pg_type from ops.columns order by 1, 2"),
    }


@pytest.fixture
def two_batches(warehouse: Warehouse) -> tuple[Warehouse, list[Any]]:  # noqa: F811
    warehouse.table = MongoTable.model_validate(TABLE)
    return warehouse, [warehouse.land(documents(n), mode="full", scope=SNAPSHOT, part_rows=10) for n in (1, 2)]


def reset(warehouse: Warehouse) -> None:  # noqa: F811
    for schema in ("bronze", "ops"):
        warehouse.execute(f"drop schema if exists {schema} cascade")


def statements(warehouse: Warehouse, batch_id: str) -> int:  # noqa: F811
    import json

    process = start(warehouse, batch_id)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    return int(json.loads(output)["statements"])


def test_a_loader_killed_at_any_statement_leaves_all_or_nothing(two_batches: tuple[Warehouse, list[Any]]) -> None:
    warehouse, manifests = two_batches  # noqa: F811
    counts = [statements(warehouse, manifest.batch_id) for manifest in manifests]
    expected = contents(warehouse)
    for index, manifest in enumerate(manifests):
        # Every eleventh statement from a shifting start, and the last one of all, after which only the commit comes.
        for stop in [*range(1 + index, counts[index], 11), counts[index]]:
            reset(warehouse)
            for earlier in manifests[:index]:
                warehouse.load_landed(earlier)
            before = contents(warehouse) if index else None
            process = start(warehouse, manifest.batch_id, stop, "after")
            assert process.stdout is not None and process.stdout.readline() == "stopped\n", stop
            process.kill()
            process.wait()
            if before is not None:
                assert contents(warehouse) == before
            for again in manifests[index:]:
                assert warehouse.load_landed(again).status == "loaded"
            assert contents(warehouse) == expected, f"batch {index}, statement {stop}"


def test_a_connection_cut_at_any_statement_is_mended_by_the_loader_itself(
    two_batches: tuple[Warehouse, list[Any]],
) -> None:
    warehouse, manifests = two_batches  # noqa: F811
    count = [statements(warehouse, manifest.batch_id) for manifest in manifests][1]
    expected = contents(warehouse)
    for stop in range(5, count, 21):
        reset(warehouse)
        warehouse.load_landed(manifests[0])
        process = start(warehouse, manifests[1].batch_id, stop, "before")
        assert process.stdout is not None and process.stdout.readline() == "stopped\n"
        ended = warehouse.rows(
            "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'warehouse load'"
            " and datname = current_database()"
        )
        assert ended == [(True,)]
        output, _ = process.communicate("\n", timeout=120)
        assert process.returncode == 0 and '"loaded"' in output
        assert contents(warehouse) == expected, f"statement {stop}"


def test_a_commit_whose_answer_was_lost_is_not_repeated(
    two_batches: tuple[Warehouse, list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    warehouse, manifests = two_batches  # noqa: F811
    from tasks.bronze import load

    real = load.load_with
    calls: list[str] = []

    def lose_the_first_answer(*arguments: Any) -> Any:
        result = real(*arguments)
        calls.append(result.status)
        if len(calls) == 1:
            raise psycopg.OperationalError("server closed the connection unexpectedly")
        return result

    monkeypatch.setattr(load, "load_with", lose_the_first_answer)
    result = warehouse.load_landed(manifests[0])
    assert calls == ["loaded", "already_loaded"] and result.inserted == 30
    assert warehouse.value("select version from ops.checkpoints") == 1


def test_two_loads_of_one_batch_at_once_load_it_once(two_batches: tuple[Warehouse, list[Any]]) -> None:
    warehouse, manifests = two_batches  # noqa: F811
    with ThreadPoolExecutor(4) as pool:
        found = [result.status for result in pool.map(warehouse.load_landed, [manifests[0]] * 4)]
    assert sorted(found) == ["already_loaded"] * 3 + ["loaded"]
    assert warehouse.rows("select version from ops.checkpoints") == [(1,)]


def test_tables_that_are_new_at_once_do_not_block_or_share_names(warehouse: Warehouse) -> None:  # noqa: F811
    others = [Warehouse(warehouse.url, warehouse.landing, "shop", f"t{number}") for number in range(6)]
    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(lambda one: one.load([{"_id": 1}]).status, others))
    assert results == ["loaded"] * 6
    assert warehouse.value("select count(*) from ops.tables") == 6


def test_a_deadlock_is_tried_again(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    from tasks.bronze import load

    real, failed = load.load_with, []

    def once(*arguments: Any) -> Any:
        if not failed:
            failed.append(1)
            raise psycopg.errors.DeadlockDetected("deadlock detected")
        return real(*arguments)

    monkeypatch.setattr(load, "load_with", once)
    assert warehouse.load([{"_id": 1}]).status == "loaded"


def test_a_restart_of_postgres_during_a_load_is_survived(tmp_path: Path) -> None:
    import tempfile

    from infra.embedded import postgres
    from tasks.landing import Landing

    home = Path(tempfile.mkdtemp(prefix="warehouse-fault-"))
    home.chmod(0o711)
    try:
        own = Warehouse(postgres.up(home), Landing.open(str(tmp_path)))
        own.table = MongoTable.model_validate(TABLE)
        manifests = [own.land(documents(n), mode="full", scope=SNAPSHOT) for n in (1, 2)]
        for manifest in manifests:
            own.load_landed(manifest)
        expected = contents(own)
        reset(own)
        own.load_landed(manifests[0])
        process = start(own, manifests[1].batch_id, 40, "before")
        assert process.stdout is not None and process.stdout.readline() == "stopped\n"
        os.kill(postgres.status(home).pid, signal.SIGKILL)
        with pytest.raises(psycopg.OperationalError):
            own.rows("select 1")
        postgres.up(home)
        process.communicate("\n", timeout=120)
        own.load_landed(manifests[1])
        assert contents(own) == expected
    finally:
        postgres.down(home, wipe=True)


def test_an_unreachable_warehouse_and_a_wrong_password_are_named(postgres_url: str) -> None:
    from tasks.database import connect

    with pytest.raises(WarehouseUnreachable, match="does not answer"):
        connect("postgresql://nobody:secret@127.0.0.1:1/none")
    user = postgres_url.split("@", 1)[1]
    with pytest.raises(WarehouseUnreachable, match="refused the credentials") as error:
        connect(f"postgresql://warehouse:wrong-secret@{user}")
    assert "wrong-secret" not in str(error.value)
    with pytest.raises(WarehouseUnreachable, match="database does not exist"):
        connect(postgres_url.rsplit("/", 1)[0] + "/nowhere")
