"""Loading while the batch is still being landed: the same as loading it afterwards, or nothing at all."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import bson
import pytest
from bson.int64 import Int64
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.bronze.outcome import LoadResult
from tasks.bronze.pending import Deferred, load_ahead
from tasks.bronze.postgres import copying
from tasks.landing import BatchPlan, BatchWriter, Manifest, new_batch_id
from tasks.landing.decoder import Decoder, make_decoder
from tasks.mongodb.config import MongoSource, MongoTable
from tasks.settings import Settings
from tasks.sources import TableRef
from tests.fixtures.bronze import START, Warehouse

TABLE = MongoTable(arrays={"items": "table"})


@dataclass
class Growing:
    """A batch that grows part by part, and a loader that has always taken what there is before the next comes."""

    warehouse: Warehouse
    batch_id: str = field(default_factory=new_batch_id)
    ended: bool = False
    _idle: threading.Event = field(default_factory=threading.Event)
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(max_workers=1))

    def __post_init__(self) -> None:
        self.key = self.warehouse.key
        self.landing = self.warehouse.landing
        self.decoder: Decoder = make_decoder(children=self.warehouse.table.child_paths)
        self.writer: BatchWriter = self.landing.writer(*self.key, self.batch_id)
        self.landing.write_plan(*self.key, self.batch_id, BatchPlan(key={}, extracted_at=START))
        source = MongoSource.model_validate(
            {"kind": "mongodb", "uri": "mongodb://nowhere", "database": "shop", "tables": {self.key.table_name: {}}}
        )
        ref = TableRef(*self.key, source, self.warehouse.table)
        known = Settings.model_validate({"url": self.warehouse.url, "landing": self.landing.root})
        self.loading: Future[LoadResult | Deferred] = self._pool.submit(load_ahead, ref, known, self._over)

    def _over(self) -> bool:
        self._idle.set()
        return self.ended

    def wait(self) -> None:
        """Wait until the loader has looked twice and found nothing new, or has ended."""
        for _ in range(2):
            self._idle.clear()
            while not self._idle.wait(0.05) and not self.loading.done():
                pass

    def add(self, documents: Sequence[dict[str, Any]]) -> None:
        """Land documents as one part of each relation, and see that the loader has taken them."""
        raw = b"".join(map(bson.encode, documents))
        assert self.decoder.push(raw) == len(raw)
        tables = self.decoder.flush().tables
        self.writer.write(tables.pop(""))
        for path, frame in tables.items():
            self.writer.write(frame, kind="child", child=path)
        for pending in self.writer._pending:
            pending.result()
        self.wait()

    def commit(self) -> Manifest:
        """Say that the batch is whole."""
        segment = self.writer.finish(self.decoder.stats(), 0, 0.1)
        return self.landing.commit(
            *self.key, self.batch_id, [segment], mode="full", extracted_at=START, scope={"type": "snapshot"}
        )

    def loaded(self) -> LoadResult:
        """Return what the load did."""
        result = self.loading.result(60)
        assert isinstance(result, LoadResult), result
        return result

    def deferred(self) -> str:
        """Return why the batch was not loaded while it grew."""
        result = self.loading.result(60)
        assert isinstance(result, Deferred), result
        return result.reason

    def close(self) -> None:
        """End all threads."""
        self.ended = True
        self.writer.__exit__(None, None, None)
        self._pool.shutdown()


@pytest.fixture
def grow(another: Callable[..., Warehouse]) -> Iterator[Callable[..., Growing]]:
    """Begin a batch of a table that was never loaded."""
    begun: list[Growing] = []

    def begin(table_name: str = "orders", table: MongoTable = TABLE) -> Growing:
        warehouse = another("shop", table_name)
        warehouse.table = table
        begun.append(Growing(warehouse))
        return begun[-1]

    yield begin
    for growing in begun:
        growing.close()


def state(warehouse: Warehouse) -> dict[str, Any]:
    """Return all that a load leaves behind, but for times and for the names of table and batch."""
    table = warehouse.key.table_name
    found: dict[str, Any] = {}
    for [relation] in warehouse.rows("select relation from ops.tables where table_name = %s order by 1", table):
        rows = warehouse.rows(f"select to_jsonb(t) from bronze.{relation} t order by _id")
        own = ("_batch_id", "_loaded_at", "_extracted_at")
        found[relation.replace(table, "T")] = [
            {name: value for name, value in row.items() if name not in own} for [row] in rows
        ]
    for relation, columns in {
        "columns": "child, path, column_name, kind, pg_type, stored, position",
        "schema_changes": "field, change, old_type, new_type, action, evidence",
        "field_statistics": "child, path, row_count, present, null_count, empty_count, types, rescued, sanitised",
        "batches": "status, rows_landed, rows_inserted, rows_rejected, rows_rescued, child_rows, plan, schema_changes",
    }.items():
        query = f"select {columns} from ops.{relation} t where table_name = %s order by ({columns})::text"
        found[relation] = warehouse.rows(query, table)
    return found


def test_rows_and_child_rows_are_there_as_soon_as_the_batch_is_whole(grow: Callable[..., Growing]) -> None:
    growing = grow()
    growing.add([{"_id": 1, "total": 5, "items": [{"sku": "a"}, {"sku": "b"}]}, {"_id": 2, "total": 6}])
    growing.add([{"_id": 3, "total": 7, "new": "x", "items": [{"sku": "c", "colour": "red"}]}])
    assert growing.warehouse.value("select to_regclass('bronze.shop__orders') is null")
    manifest = growing.commit()
    result = growing.loaded()
    assert (result.status, result.plan, result.inserted, result.child_rows) == ("loaded", "first", 3, 3)
    warehouse = growing.warehouse
    assert warehouse.rows("select _id, total, new, _batch_id from bronze.shop__orders order by 1") == [
        ("1", 5, None, manifest.batch_id),
        ("2", 6, None, manifest.batch_id),
        ("3", 7, "x", manifest.batch_id),
    ]
    assert warehouse.rows("select _id, sku, colour from bronze.shop__orders__items order by 1") == [
        ("1:0", "a", None),
        ("1:1", "b", None),
        ("3:0", "c", "red"),
    ]
    assert warehouse.load_landed(manifest).status == "already_loaded"


def test_a_type_that_turns_out_otherwise_leaves_nothing_behind(grow: Callable[..., Growing]) -> None:
    growing = grow()
    growing.add([{"_id": 1, "total": 5}])
    growing.add([{"_id": 2, "total": "five"}, {"_id": 3, "total": "six"}])
    manifest = growing.commit()
    assert "total turned out to be otherwise" in growing.deferred()
    warehouse = growing.warehouse
    assert warehouse.value("select to_regclass('bronze.shop__orders') is null")
    assert warehouse.load_landed(manifest).status == "loaded"
    assert warehouse.rows("select _id, total, _rescued from bronze.shop__orders order by 1") == [
        ("1", None, {"total": 5}),
        ("2", "five", None),
        ("3", "six", None),
    ]


def test_a_whole_number_that_no_double_tells_leaves_the_choice_of_the_type_to_the_whole_batch(
    grow: Callable[..., Growing],
) -> None:
    growing = grow()
    growing.add([{"_id": 1, "total": 0.5}])
    growing.add([{"_id": 2, "total": Int64(2**53 + 1)}])
    manifest = growing.commit()
    assert "total turned out to be otherwise" in growing.deferred()
    warehouse = growing.warehouse
    assert warehouse.load_landed(manifest).plan == "first"
    assert warehouse.rows("select _id, total::text, _rescued from bronze.shop__orders order by 1") == [
        ("1", "0.5", None),
        ("2", str(2**53 + 1), None),
    ]


def test_files_of_a_reader_that_died_are_not_believed(grow: Callable[..., Growing]) -> None:
    growing = grow()
    with growing.landing.writer(*growing.key, growing.batch_id) as dead:
        decoder = make_decoder()
        decoder.push(bson.encode({"_id": 1, "total": 4}))
        dead.write(decoder.flush().tables[""])
    growing.wait()
    growing.add([{"_id": 1, "total": 5}])
    manifest = growing.commit()
    assert "is not of the batch" in growing.deferred()
    assert growing.warehouse.load_landed(manifest).inserted == 1


def test_an_id_that_comes_twice_is_left_to_the_careful_way(grow: Callable[..., Growing]) -> None:
    growing = grow()
    growing.add([{"_id": 1, "total": 5}])
    growing.add([{"_id": 1, "total": 6}])
    manifest = growing.commit()
    assert "could not create unique index" in growing.deferred()
    assert growing.warehouse.load_landed(manifest).inserted == 1
    assert growing.warehouse.rows("select total from bronze.shop__orders") == [(6,)]


def test_parts_of_one_table_go_through_one_copy(grow: Callable[..., Growing], monkeypatch: pytest.MonkeyPatch) -> None:
    copies, copy_frames = [], copying.copy_frames

    def counted(*arguments: Any, **options: Any) -> None:
        copies.append(arguments)
        copy_frames(*arguments, **options)

    monkeypatch.setattr(copying, "copy_frames", counted)
    growing = grow(table=MongoTable())
    for number in range(3):
        growing.add([{"_id": number, "total": number}])
    growing.commit()
    assert growing.loaded().inserted == 3
    assert len(copies) == 1


def test_an_extraction_that_ends_without_a_batch_ends_the_waiting(grow: Callable[..., Growing]) -> None:
    growing = grow()
    growing.add([{"_id": 1}])
    growing.ended = True
    assert "without a whole batch" in growing.deferred()
    assert growing.warehouse.value("select to_regclass('bronze.shop__orders') is null")
    assert growing.warehouse.rows("select * from ops.batches") == []


def test_a_batch_that_is_whole_by_its_first_part_is_left_to_the_load_of_what_is_landed(
    grow: Callable[..., Growing],
) -> None:
    growing = grow()
    growing.wait()
    assert not growing.warehouse.rows("select 1 from pg_stat_activity where application_name = 'warehouse load'")
    growing.add([])
    manifest = growing.commit()
    assert growing.deferred() == "a batch is landed whole"
    assert growing.warehouse.load_landed(manifest).status == "loaded"


def test_a_batch_that_another_one_overtook_is_not_waited_for(grow: Callable[..., Growing]) -> None:
    growing = grow()
    growing.add([{"_id": 1}])
    other = growing.warehouse.land([{"_id": 1}])
    assert "without a whole batch" in growing.deferred()
    assert growing.warehouse.load_landed(other).inserted == 1


def test_other_new_tables_load_meanwhile(grow: Callable[..., Growing], another: Callable[..., Warehouse]) -> None:
    growing = grow()
    growing.add([{"_id": 1, "items": [{"sku": "a"}]}])
    other = another("shop", "customers")
    other.execute("alter database current_database() set lock_timeout = '5s'".replace(
        "current_database()", other.value("select quote_ident(current_database())")
    ))  # fmt: skip
    assert other.load([{"_id": 1, "name": "Ada"}]).status == "loaded"
    growing.commit()
    assert growing.loaded().status == "loaded"


def test_a_table_that_is_in_bronze_is_not_loaded_ahead(grow: Callable[..., Growing]) -> None:
    first = grow()
    first.add([{"_id": 1}])
    first.commit()
    first.loaded()
    first.landing.delete(*first.key, first.batch_id)
    again = grow()
    again.add([{"_id": 1}])
    assert "has been loaded" in again.deferred()


VALUES = st.one_of(
    st.integers(-5, 5),
    st.floats(allow_nan=True),
    st.sampled_from(["", "text", "nul\x00", Int64(2**53 + 1)]),
    st.booleans(),
    st.none(),
    st.lists(st.integers(0, 3), max_size=2),
)
PARTS = st.lists(
    st.lists(st.dictionaries(st.sampled_from(["a", "b", "B", "c.d", "items"]), VALUES, max_size=4), min_size=1),
    min_size=1,
    max_size=4,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(PARTS)
def test_whatever_comes_it_equals_the_load_of_the_whole_batch(
    grow: Callable[..., Growing], parts: list[list[dict[str, Any]]]
) -> None:
    table = f"t{new_batch_id()[-8:]}"
    growing = grow(f"{table}_ahead")
    number = 0
    for documents in parts:
        growing.add([{"_id": number + index, **document} for index, document in enumerate(documents)])
        number += len(documents)
    manifest = growing.commit()
    if isinstance(growing.loading.result(60), Deferred):
        assert growing.warehouse.load_landed(manifest).status == "loaded"
        return
    plain = Warehouse(growing.warehouse.url, growing.landing, "shop", f"{table}_plain")
    plain.table = growing.warehouse.table
    copied = manifest.model_copy(update={"table": f"{table}_plain"})
    for part in manifest.parts:
        payload = growing.landing.get(f"shop/{table}_ahead/{manifest.batch_id}/{part.file}")
        growing.landing.put(f"shop/{table}_plain/{manifest.batch_id}/{part.file}", payload)
    plain.load_landed(copied)
    assert state(growing.warehouse) == state(plain)
