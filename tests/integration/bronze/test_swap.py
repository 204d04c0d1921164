"""A rebuild beside the relations that readers see: whole answers throughout, and what people added is there after."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from tasks.bronze.load import Loader
from tasks.bronze.postgres import carryover, swap
from tasks.bronze.rebuild import rebuild_table
from tasks.mongodb.config import MongoSource, MongoTable
from tasks.settings import Settings
from tasks.sources import TableRef
from tests.fixtures.bronze import Warehouse

SNAPSHOT = {"type": "snapshot"}
ROWS = 3_000
READS = 20


@pytest.fixture
def place(warehouse: Warehouse) -> tuple[TableRef, Settings]:
    warehouse.table = MongoTable(arrays={"items": "table"}, history=True)
    source = MongoSource.model_validate(
        {"kind": "mongodb", "uri": "mongodb://nowhere", "database": "shop", "tables": {"orders": {}}}
    )
    settings = Settings.model_validate({"url": warehouse.url, "landing": warehouse.landing.root})
    return TableRef("shop", "orders", source, warehouse.table), settings


def load(warehouse: Warehouse) -> None:
    """Load a complete read and changes, of which the rebuild makes another type of column."""
    table = warehouse.table
    # Its versions would hold what the column's new type could not.
    warehouse.table = MongoTable(arrays={"items": "table"})
    warehouse.load([{"_id": 1, "v": "odd"}], mode="full", scope=SNAPSHOT)
    warehouse.table = table
    rows = [{"_id": n, "x": n, "v": 1, "items": [{"k": n}]} for n in range(ROWS)]
    warehouse.load(rows, mode="full", scope=SNAPSHOT)
    warehouse.load([row | {"v": 2} for row in rows[:100]], mode="cdc")
    warehouse.execute(
        "create schema bi; create view bi.items as select t._id, t.x, c.k from bronze.shop__orders t"
        " join bronze.shop__orders__items c on c._root_id = t._id;"
        "create view bi.totals as select count(*), sum(x)::bigint x, sum(k)::bigint k from bi.items"
    )


class Readers:
    """Sessions that read all the time, and what they saw."""

    def __init__(self, url: str, queries: list[str]) -> None:
        self._url, self._queries = url, queries
        self._ended = threading.Event()
        self._progress = threading.Condition()
        self.reads = 0
        self.seen: set[tuple[Any, ...]] = set()
        self.longest = 0.0

    def _read(self, query: str) -> None:
        with psycopg.connect(self._url, autocommit=True) as connection:
            while not self._ended.is_set():
                started = time.monotonic()
                found = connection.execute(query).fetchall()
                with self._progress:
                    self.longest = max(self.longest, time.monotonic() - started)
                    self.seen.update(found)
                    self.reads += 1
                    self._progress.notify_all()

    def wait(self) -> None:
        """Wait until they have read some more times."""
        with self._progress:
            until = self.reads + READS
            assert self._progress.wait_for(lambda: self.reads >= until, 60)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Read meanwhile; whatever failed in a session is raised at the end."""
        with ThreadPoolExecutor(len(self._queries)) as pool:
            sessions = [pool.submit(self._read, query) for query in self._queries]
            try:
                yield
            finally:
                self._ended.set()
            for session in sessions:
                session.result()


TOTALS = "select count(*), sum(t.x)::bigint, sum(c.k)::bigint from {} t join {} c on c._root_id = t._id"


@pytest.mark.parametrize("against", [False, True], ids=["swapped", "in place"])
def test_readers_get_whole_answers_throughout_a_rebuild(
    warehouse: Warehouse, place: Any, monkeypatch: pytest.MonkeyPatch, against: bool
) -> None:
    load(warehouse)
    if against:
        warehouse.execute("create materialized view bi.frozen as select count(*) from bronze.shop__orders")
    view = "select * from bi.totals"
    # Several at a time, so that there is always one that reads the view.
    readers = Readers(warehouse.url, [TOTALS.format("bronze.shop__orders", "bronze.shop__orders__items"), view, view])
    real = Loader.write

    def write(loader: Loader) -> Any:
        result = real(loader)
        # A lock that is held until the end would keep them from it.
        readers.wait()
        return result

    monkeypatch.setattr(Loader, "write", write)
    with readers.reading():
        readers.wait()
        *_, last = rebuild_table(*place)
        readers.wait()
    assert warehouse.column_type("v") == ("text" if against else "bigint")
    assert [warning.startswith("all columns keep") for warning in last.warnings] == [True] * against
    total = sum(range(ROWS))
    assert readers.seen == {(ROWS, total, total)}
    # Half a second behind a request for a lock, and as much again for a busy machine.
    assert readers.longest < 1.5


def test_a_rebuild_waits_for_a_long_reader_and_lets_others_through(warehouse: Warehouse, place: Any) -> None:
    load(warehouse)
    with ThreadPoolExecutor(1) as pool, psycopg.connect(warehouse.url) as slow:
        slow.execute("select from bronze.shop__orders limit 1")
        rebuilding = pool.submit(rebuild_table, *place)
        waiting = "select count(*) from pg_locks where not granted and relation = 'bronze.shop__orders'::regclass"
        while warehouse.value(waiting) == 0 and not rebuilding.done():
            threading.Event().wait(0.01)
        with psycopg.connect(warehouse.url, options="-c statement_timeout=2500") as other:
            assert other.execute("select count(*) from bronze.shop__orders").fetchone() == (ROWS,)
            assert other.execute("select count from bi.totals").fetchone() == (ROWS,)
        assert not rebuilding.done()
        slow.rollback()
        rebuilding.result()
    assert warehouse.column_type("v") == "bigint"


def test_a_new_table_gets_its_name_while_another_is_rebuilt(
    warehouse: Warehouse, place: Any, another: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    warehouse.table = MongoTable()
    warehouse.load([{"_id": 1, "items": [{"k": 1}]}], mode="full", scope=SNAPSHOT)
    # The history has no name yet.
    real, loaded = Loader.write, []

    def write(loader: Loader) -> Any:
        if not loaded:
            loaded.append(True)
            other = another("shop", "other")
            with ThreadPoolExecutor(1) as pool:
                assert pool.submit(other.load, [{"_id": 1}]).result(30).status == "loaded"
        return real(loader)

    monkeypatch.setattr(Loader, "write", write)
    rebuild_table(*place)
    assert loaded and warehouse.value("select count(*) from bronze.shop__other") == 1


def test_a_rebuild_keeps_what_people_added(warehouse: Warehouse, place: Any) -> None:
    load(warehouse)
    warehouse.execute("drop role if exists an_analyst; create role an_analyst")
    try:
        warehouse.execute(
            """
            alter default privileges in schema bronze grant select on tables to an_analyst;
            create index by_x on bronze.shop__orders (x desc) where v is not null;
            create unique index "Other Case" on bronze.shop__orders__items (k, _id);
            create index by_v on bronze.shop__orders (v text_pattern_ops);
            alter table bronze.shop__orders add constraint sane check (x >= 0), add constraint once unique (x, _id);
            alter table bronze.shop__orders set (fillfactor = 80);
            comment on table bronze.shop__orders is 'What was ordered';
            comment on column bronze.shop__orders.x is 'A number''s number';
            comment on view bi.items is 'Joined';
            grant select on bi.items to an_analyst;
            grant insert on bronze.shop__orders__items to an_analyst
            """
        )
        *_, last = rebuild_table(*place)
        assert last.warnings == [
            'by_v on shop__orders could not be made again: operator class "text_pattern_ops" does not accept data'
            " type bigint"
        ]
        indexes = dict(warehouse.rows("select indexname, indexdef from pg_indexes where schemaname = 'bronze'"))
        # Its own keys once each, under their names.
        assert sorted(indexes) == [
            "Other Case",
            "by_x",
            "once",
            "shop__orders__history__id__valid_from_idx",
            "shop__orders__items__root_id_idx",
            "shop__orders__items_pkey",
            "shop__orders_pkey",
        ]
        assert indexes["by_x"].endswith("ON bronze.shop__orders USING btree (x DESC) WHERE (v IS NOT NULL)")
        with pytest.raises(psycopg.errors.CheckViolation, match="sane"):
            warehouse.execute("update bronze.shop__orders set x = -1 where x = 7")
        assert warehouse.rows(
            "select obj_description(c.oid), col_description(c.oid, a.attnum), reloptions from pg_class c"
            " join pg_attribute a on a.attrelid = c.oid and attname = 'x' where c.oid = 'bronze.shop__orders'::regclass"
        ) == [("What was ordered", "A number's number", ["fillfactor=80"])]
        assert warehouse.value("select obj_description('bi.items'::regclass)") == "Joined"
        allowed = [
            warehouse.value("select has_table_privilege('an_analyst', %s, %s)", *asked)
            for asked in (
                ("bi.items", "select"),
                ("bronze.shop__orders__items", "insert"),
                # Made before the default privileges were, so a rebuild gives no new right.
                ("bronze.shop__orders", "select"),
            )
        ]
        assert allowed == [True, True, False]
        assert warehouse.rows("select nspname from pg_namespace where nspname like '%%next%%'") == []
    finally:
        warehouse.execute("drop owned by an_analyst; drop role an_analyst")


@pytest.mark.parametrize(
    ("tie", "told"),
    [
        ("create trigger seen before insert on bronze.shop__orders for each row execute function bi.look()", "trigger"),
        (
            "alter table bronze.shop__orders__items enable row level security",
            "row level security of shop__orders__items",
        ),
        ("create table bi.notes (_id text references bronze.shop__orders)", "foreign key"),
        (
            "create function bi.f() returns bigint begin atomic select count(*) from bronze.shop__orders; end",
            "function",
        ),
    ],
    ids=["trigger", "row level security", "foreign key", "function"],
)
def test_what_belongs_to_the_very_relation_keeps_it(warehouse: Warehouse, place: Any, tie: str, told: str) -> None:
    load(warehouse)
    warehouse.execute(
        "create function bi.look() returns trigger language plpgsql as 'begin return new; end'; alter database "
        f"{warehouse.url.rsplit('/', 1)[1]} set check_function_bodies = on"
    )
    warehouse.execute(tie)
    before = warehouse.value("select 'bronze.shop__orders'::regclass::oid")
    *_, last = rebuild_table(*place)
    [warning] = last.warnings
    assert warning.startswith("all columns keep their types: ") and told in warning
    assert warehouse.value("select 'bronze.shop__orders'::regclass::oid") == before
    assert warehouse.rows("select * from bi.totals") == [(ROWS, sum(range(ROWS)), sum(range(ROWS)))]


def test_a_relation_without_rows_in_the_landing_is_there_after_a_rebuild(warehouse: Warehouse, place: Any) -> None:
    warehouse.load([{"_id": 1, "items": [{"k": 1}]}], mode="full", scope=SNAPSHOT)
    warehouse.load([{"_id": 1}], mode="full", scope=SNAPSHOT)
    warehouse.execute("create view above as select k from bronze.shop__orders__items")
    *_, last = rebuild_table(*place)
    assert last.warnings == [] and warehouse.rows("select * from above") == []


def test_a_table_that_somebody_dropped_is_there_after_a_rebuild(warehouse: Warehouse, place: Any) -> None:
    warehouse.load([{"_id": 1, "items": [{"k": 1}]}], mode="full", scope=SNAPSHOT)
    warehouse.execute("drop table bronze.shop__orders, bronze.shop__orders__items, bronze.shop__orders__history")
    rebuild_table(*place)
    assert warehouse.rows("select _root_id, k from bronze.shop__orders__items join bronze.shop__orders o"
                          " on o._id = _root_id") == [("1", 1)]  # fmt: skip


def test_an_index_name_that_another_table_has_is_left_to_it(warehouse: Warehouse, place: Any, monkeypatch: Any) -> None:
    load(warehouse)
    real = swap.swap

    def name_taken(cursor: Any, live: Any, shadows: Any) -> Any:
        carryover.make(cursor, place[0].key, "", shadows[""])
        cursor.execute("alter table bronze.shop__orders rename constraint shop__orders_pkey to another_name")
        cursor.execute("create table bronze.shop__orders_pkey ()")
        return real(cursor, live, shadows)

    monkeypatch.setattr(swap, "swap", name_taken)
    rebuild_table(*place)
    [[name]] = warehouse.rows(
        "select conname from pg_constraint where conrelid = 'bronze.shop__orders'::regclass and contype = 'p'"
    )
    assert name.startswith("shop__orders_")
