"""Loaders killed, cut off and doubled at any statement: afterwards bronze equals the source, as does the checkpoint.

A loader runs in a process of its own that counts its statements and stops before, or after, a chosen one; there it is
killed, or its connection is. Then the batch is loaded again, as the next run would.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from bson.decimal128 import Decimal128
from bson.int64 import Int64

from tasks.bronze import names
from tasks.bronze.reset import begin_reset
from tasks.errors import WarehouseUnreachable
from tasks.landing import Manifest
from tasks.mongodb.config import MongoSource, MongoTable
from tasks.ops.migrations import migrate
from tasks.settings import Settings
from tasks.sources import TableRef
from tests.fixtures.bronze import Warehouse

TABLE = {"arrays": {"items": "table"}, "history": True}
SNAPSHOT = {"type": "snapshot"}

# Imports once and forks a loader for each line it reads. A loader stops at statement N by telling its parent over a
# pipe and waiting for a signal, to be killed or to go on: no time is guessed.
_LOADERS = textwrap.dedent(
    """
    import contextlib, json, os, signal, sys
    import psycopg
    from tasks import database
    from tasks.bronze.load import load_batch
    from tasks.bronze.rebuild import rebuild_table
    from tasks.landing import Landing
    from tasks.mongodb.config import MongoSource, MongoTable
    from tasks.settings import Settings
    from tasks.sources import TableRef

    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    url, root, table = sys.argv[1:]
    count = 0

    class Counting(psycopg.Cursor):
        @contextlib.contextmanager
        def counted(self):
            global count
            count += 1
            at("before")
            yield
            at("after")

        def execute(self, *arguments, **options):
            with self.counted():
                return super().execute(*arguments, **options)

        def executemany(self, *arguments, **options):
            with self.counted():
                return super().executemany(*arguments, **options)

        @contextlib.contextmanager
        def copy(self, *arguments, **options):
            with self.counted(), super().copy(*arguments, **options) as copy:
                yield copy

    def at(moment):
        if (moment, count) == (when, stop):
            print("stopped", os.getpid(), flush=True)
            signal.sigwait([signal.SIGUSR1])

    def load(batch):
        connect = psycopg.connect
        psycopg.connect = lambda *a, **k: connect(*a, **k, cursor_factory=Counting)
        made, landing = MongoTable(**json.loads(table)), Landing.open(root)
        if batch == "rebuild":
            source = MongoSource(kind="mongodb", uri="mongodb://nowhere", database="shop", tables={"orders": {}})
            result = rebuild_table(TableRef("shop", "orders", source, made), Settings(url=url, landing=root))[-1]
        else:
            result = load_batch(url, landing, landing.manifest("shop", "orders", batch), made)
        print(result.status, count, flush=True)

    for line in sys.stdin:
        batch, when, stop = json.loads(line)
        if not (child := os.fork()):
            try:
                load(batch)
            finally:
                os._exit(0)
        print("ended", os.waitpid(child, 0)[1], flush=True)
    """
)


class Loaders:
    """Loaders of one warehouse, one at a time, each in a process of its own."""

    def __init__(self, warehouse: Warehouse) -> None:
        arguments = [warehouse.url, warehouse.landing.root, json.dumps(TABLE)]
        self._process = subprocess.Popen(
            [sys.executable, "-c", _LOADERS, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[3],
        )

    def __enter__(self) -> Loaders:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)

    def start(self, batch_id: str, when: str = "never", stop: int = 0) -> tuple[str, int]:
        """Start a loader; return `stopped` and its process id, or its load's status and number of statements."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([batch_id, when, stop]) + "\n")
        self._process.stdin.flush()
        found, number = self._line()
        if found != "stopped":
            assert self._line() == ("ended", 0)
        return found, number

    def kill(self, pid: int) -> None:
        """End a stopped loader without a word."""
        os.kill(pid, signal.SIGKILL)
        assert self._line() == ("ended", signal.SIGKILL)

    def go_on(self, pid: int) -> tuple[str, int]:
        """Let a stopped loader go on; return its exit code, and status and number of statements if it came to them."""
        os.kill(pid, signal.SIGUSR1)
        found = self._line()
        assert self._line() == ("ended", 0)
        return found

    def _line(self) -> tuple[str, int]:
        assert self._process.stdout is not None
        word, number = self._process.stdout.readline().split()
        return word, int(number)


def documents(version: int) -> list[dict[str, Any]]:
    found = [{"_id": n, "v": n * version, "w": n, "items": [{"k": version}] * (n % 3)} for n in range(30 + version)]
    # Once they hold a negative zero, doubles cannot be widened: for a decimal a column is put beside, and for a whole
    # number that no double represents as well.
    drifted: dict[str, Any] = {"x": -0.0, "y": -0.0}
    if version > 1:
        drifted |= {"new": 1, "v": 0.5, "w": 0.5}
    if version > 2:
        drifted |= {"x": Decimal128("0.10"), "y": Int64(2**53 + 1)}
    return [document | drifted for document in found if document["_id"] != version]


_CONTENTS = {
    # Without nulls, as a column that is added ahead of its rows changes none of them.
    "rows": "select _id, jsonb_strip_nulls(to_jsonb(t) - '_loaded_at') from bronze.shop__orders t order by _id",
    "items": "select _id, k, _deleted_at is null from bronze.shop__orders__items order by 1",
    "history": "select _id, v, _valid_from, _valid_to from bronze.shop__orders__history order by 1, 3",
    "checkpoint": "select state, version, batch_id from ops.checkpoints",
    "batches": "select batch_id, status, rows_inserted, rows_updated, rows_deleted, schema_changes from ops.batches"
    " order by 1",
    "statistics": "select batch_id, child, path, present from ops.field_statistics order by 1, 2, 3",
    "changes": "select field, change, new_type from ops.schema_changes order by 1, 2, 3",
    "columns": "select relation, column_name, pg_type from ops.columns"
    " join ops.tables using (source, table_name, child) order by 1, 2",
    # The document columns that relations have, in the form of the line above; history's are the table's.
    "existing": "select distinct replace(c.relname, '__history', ''), attname::text, format_type(atttypid, atttypmod)"
    " from pg_attribute join pg_class c on c.oid = attrelid join pg_namespace n on n.oid = c.relnamespace"
    f" where nspname = 'bronze' and relkind = 'r' and attnum > 0 and attname <> all('{{{','.join(names.META)}}}')"
    " order by 1, 2",
    "tables": "select child, relation from ops.tables order by 1",
}
# What may be committed ahead of a batch, in short transactions of their own.
_AHEAD = ("changes", "columns", "existing", "tables")


def contents(warehouse: Warehouse) -> dict[str, Any]:
    """Return all that a load may change; None for what does not exist yet."""
    found: dict[str, Any] = {}
    with psycopg.connect(warehouse.url, autocommit=True) as connection:
        for name, query in _CONTENTS.items():
            try:
                found[name] = connection.execute(query).fetchall()
            except psycopg.errors.UndefinedTable:
                found[name] = None
    return found


@pytest.fixture
def two_batches(warehouse: Warehouse) -> tuple[Warehouse, list[Any]]:
    warehouse.table = MongoTable.model_validate(TABLE)
    return warehouse, [warehouse.land(documents(n), mode="full", scope=SNAPSHOT, part_rows=10) for n in (1, 2)]


def reset(warehouse: Warehouse) -> None:
    """Start from an empty warehouse whose control tables exist: how migrations end halfway has tests of its own."""
    for schema in ("bronze", "ops", "monitoring"):
        warehouse.execute(f"drop schema if exists {schema} cascade")
    with psycopg.connect(warehouse.url, autocommit=True) as connection:
        migrate(connection)


@pytest.fixture
def loaders(two_batches: tuple[Warehouse, list[Any]]) -> Iterator[Loaders]:
    with Loaders(two_batches[0]) as started:
        yield started


def load_all(loaders: Loaders, manifests: Sequence[Manifest]) -> int:
    """Load batches undisturbed; return the number of the last one's statements."""
    found = [loaders.start(manifest.batch_id) for manifest in manifests]
    assert [status for status, _ in found] == ["loaded"] * len(manifests)
    return found[-1][1]


@pytest.mark.parametrize("when", ["before", "after"])
def test_loaders_killed_at_every_statement_leave_all_or_nothing(
    two_batches: tuple[Warehouse, list[Any]], loaders: Loaders, when: str
) -> None:
    warehouse, manifests = two_batches
    manifests.append(warehouse.land(documents(3), mode="full", scope=SNAPSHOT, part_rows=10))
    load_all(loaders, manifests)
    expected = contents(warehouse)
    first = expected["rows"][0][1]
    assert (first["x__decimal"], first["y__decimal"]) == (0.10, 2**53 + 1) and not first.keys() & {"x", "y", "_rescued"}
    reset(warehouse)
    # First the names are made; then a new and a wider column, and another wider one; then two
    # columns beside others, at one go.
    for manifest, steps in zip(manifests, (1, 2, 1), strict=True):
        states = [contents(warehouse)]
        stop = 1
        while (found := loaders.start(manifest.batch_id, when, stop))[0] == "stopped":
            loaders.kill(found[1])
            state = contents(warehouse)
            assert (state["columns"] or []) == state["existing"]
            stop += 1
            if state != states[-1]:
                # The next loaders go on from here, so they are killed from their first statement again.
                states.append(state)
                stop = 1
        assert found[0] == "loaded"
        assert len(states) == 1 + steps
        for state in states[1:]:
            # Nothing else may be there before the batch is; and of that nothing twice.
            assert {name for name in state if state[name] and state[name] != states[0][name]} <= set(_AHEAD)
            assert len(set(state["changes"])) == len(state["changes"])
    assert contents(warehouse) == expected


@pytest.mark.parametrize("when", ["before", "after"])
def test_rebuilds_killed_at_any_statement_leave_the_old_table_whole_and_nothing_beside(
    two_batches: tuple[Warehouse, list[Any]], loaders: Loaders, when: str
) -> None:
    warehouse, manifests = two_batches
    load_all(loaders, manifests)
    warehouse.execute("create view above as select _id, v from bronze.shop__orders")
    whole = "select c.oid from pg_class c join pg_namespace n on n.oid = relnamespace where nspname like 'bronze%%'"
    before, relations = contents(warehouse), warehouse.rows(whole)
    stop = 1
    while (found := loaders.start("rebuild", when, stop))[0] == "stopped":
        loaders.kill(found[1])
        if warehouse.rows(whole) != relations:
            # Killed once all was committed.
            break
        assert contents(warehouse) == before, f"statement {stop}"
        assert warehouse.value("select count(*) from above") == len(before["rows"])
        stop += 3
    loaders.start("rebuild")
    after = contents(warehouse)
    # Their times of loading, as the rest, are of the last rebuild.
    assert {name for name in after if after[name] != before[name]} <= {"statistics", "columns", "existing", "batches"}
    assert after["columns"] == after["existing"]
    assert warehouse.value("select count(*) from above") == len(before["rows"])


@pytest.mark.parametrize("when", ["before", "after"])
def test_loads_of_a_reset_killed_at_any_statement_leave_the_old_rows_until_all_are_new(
    two_batches: tuple[Warehouse, list[Any]], loaders: Loaders, when: str
) -> None:
    warehouse, manifests = two_batches
    load_all(loaders, manifests)
    source = MongoSource.model_validate(
        {"kind": "mongodb", "uri": "mongodb://nowhere", "database": "shop", "tables": {"orders": {}}}
    )
    settings = Settings.model_validate({"url": warehouse.url, "landing": warehouse.landing.root})
    begin_reset(TableRef("shop", "orders", source, warehouse.table), settings)
    again = warehouse.land(documents(3), mode="full", scope=SNAPSHOT, part_rows=10, previous={})
    before = contents(warehouse)
    stop = 1
    while (found := loaders.start(again.batch_id, when, stop))[0] == "stopped":
        loaders.kill(found[1])
        state = contents(warehouse)
        if state["batches"] != before["batches"]:
            break
        assert {name for name in state if state[name] != before[name]} <= set(_AHEAD), f"statement {stop}"
        stop += 3
    assert loaders.start(again.batch_id)[0] in ("loaded", "already_loaded")
    after = contents(warehouse)
    assert [row[0] for row in after["rows"]] == sorted(str(one["_id"]) for one in documents(3))
    assert after["columns"] == after["existing"] and len(after["batches"]) == 3
    # One open version for each row, and no two for one that did not change.
    assert sorted(row[0] for row in after["history"] if row[3] is None) == [row[0] for row in after["rows"]]
    assert warehouse.rows("select batch_id from ops.resets where ended_at is not null") == [(again.batch_id,)]


def test_a_connection_cut_at_any_statement_is_mended_by_the_loader_itself(
    two_batches: tuple[Warehouse, list[Any]], loaders: Loaders
) -> None:
    warehouse, manifests = two_batches
    count = load_all(loaders, manifests)
    expected = contents(warehouse)
    for stop in range(5, count, 21):
        reset(warehouse)
        warehouse.load_landed(manifests[0])
        word, pid = loaders.start(manifests[1].batch_id, "before", stop)
        assert word == "stopped"
        ended = warehouse.rows(
            "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'warehouse load'"
            " and datname = current_database()"
        )
        assert ended == [(True,)]
        assert loaders.go_on(pid)[0] == "loaded"
        assert contents(warehouse) == expected, f"statement {stop}"


def test_a_commit_whose_answer_was_lost_is_not_repeated(
    two_batches: tuple[Warehouse, list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    warehouse, manifests = two_batches
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
    warehouse, manifests = two_batches
    with ThreadPoolExecutor(4) as pool:
        found = [result.status for result in pool.map(warehouse.load_landed, [manifests[0]] * 4)]
    assert sorted(found) == ["already_loaded"] * 3 + ["loaded"]
    assert warehouse.rows("select version from ops.checkpoints") == [(1,)]


def test_tables_that_are_new_at_once_do_not_block_or_share_names(warehouse: Warehouse) -> None:
    others = [Warehouse(warehouse.url, warehouse.landing, "shop", f"t{number}") for number in range(6)]
    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(lambda one: one.load([{"_id": 1}]).status, others))
    assert results == ["loaded"] * 6
    assert warehouse.value("select count(*) from ops.tables") == 6


def test_a_deadlock_is_tried_again(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
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
        with Loaders(own) as loaders:
            word, pid = loaders.start(manifests[1].batch_id, "before", 80)
            assert word == "stopped"
            os.kill(postgres.status(home).pid, signal.SIGKILL)
            with pytest.raises(psycopg.OperationalError):
                own.rows("select 1")
            postgres.up(home)
            assert loaders.go_on(pid)[0] == "loaded"
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
