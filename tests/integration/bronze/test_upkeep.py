"""Rebuild from the landing, replay of rejects, retention, and checkpoints against blocks and people."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import bson
import pytest
from bson.binary import Binary
from bson.decimal128 import Decimal128
from bson.int64 import Int64

from tasks import checkpoints, database
from tasks.bronze import ddl
from tasks.bronze.maintenance import retain
from tasks.bronze.pending import load_pending
from tasks.bronze.rebuild import rebuild_table
from tasks.bronze.rejects import replay
from tasks.bronze.reset import begin_reset
from tasks.errors import LoadError
from tasks.mongodb.config import MongoSource, MongoTable
from tasks.ops import TableKey, migrations
from tasks.ops.rejects import find
from tasks.settings import Settings
from tasks.sources import OnDrift, TableRef
from tests.integration.bronze.conftest import Warehouse

SNAPSHOT = {"type": "snapshot"}


@pytest.fixture
def place(warehouse: Warehouse) -> tuple[TableRef, Settings]:
    source = MongoSource.model_validate(
        {"kind": "mongodb", "uri": "mongodb://nowhere", "database": "shop", "tables": {"orders": {}}}
    )
    settings = Settings.model_validate({"url": warehouse.url, "landing": warehouse.landing.root})
    return TableRef("shop", "orders", source, warehouse.table), settings


def with_table(place: tuple[TableRef, Settings], table: MongoTable) -> TableRef:
    ref = place[0]
    return TableRef(ref.source_name, ref.table_name, ref.source, table)


def test_pending_batches_load_in_order_once(warehouse: Warehouse, place: Any) -> None:
    for value in (1, 2, 3):
        warehouse.land([{"_id": 1, "v": value}])
    assert [result.status for result in load_pending(*place)] == ["loaded"] * 3
    assert warehouse.rows("select v from bronze.shop__orders") == [(3,)]
    assert load_pending(*place) == []


def test_a_mended_source_that_was_read_whole_again_is_not_held_up_by_what_could_not_be_loaded(
    warehouse: Warehouse, place: Any
) -> None:
    warehouse.table = MongoTable(on_drift=OnDrift(type="fail"))
    ref = with_table(place, warehouse.table)
    full = {"mode": "full", "scope": SNAPSHOT}
    warehouse.load([{"_id": 1, "v": 1}], **full)
    bad = warehouse.land([{"_id": 1, "v": "odd"}], **full)
    with pytest.raises(LoadError, match=r"do not fit.*then run again"):
        load_pending(ref, place[1])
    mended = warehouse.land([{"_id": 1, "v": 2}], **full)
    assert [(result.batch_id, result.status) for result in load_pending(ref, place[1])] == [
        (mended.batch_id, "loaded"),
        (bad.batch_id, "superseded"),
    ]
    assert warehouse.rows("select v from bronze.shop__orders") == [(2,)]
    assert load_pending(ref, place[1]) == []


def test_what_could_not_be_loaded_and_no_later_batch_holds_holds_up_those_after_it(
    warehouse: Warehouse, place: Any
) -> None:
    warehouse.table = MongoTable(on_drift=OnDrift(new="fail"))
    ref = with_table(place, warehouse.table)
    warehouse.load([{"_id": 1}])
    warehouse.land([{"_id": 2, "new": 1}])
    warehouse.land([{"_id": 3}])
    with pytest.raises(LoadError, match=r"fields appeared.*`warehouse reset shop\.orders`"):
        load_pending(ref, place[1])
    assert warehouse.rows("select _id from bronze.shop__orders") == [("1",)]


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


def test_rebuild_gives_the_same_rows_and_better_types(warehouse: Warehouse, place: Any) -> None:
    warehouse.table = MongoTable(arrays={"items": "table"}, history=True)
    ref = with_table(place, warehouse.table)
    warehouse.load([{"_id": 1, "x": "odd", "items": [{"n": 1}]}], mode="full", scope=SNAPSHOT)
    warehouse.load([{"_id": 1, "x": 5, "items": [{"n": 2}, {"n": 3}]}, {"_id": 2, "x": 6}], mode="cdc")
    warehouse.load([{"_id": 3, "x": 7}], deletes=[2], mode="cdc")
    warehouse.execute("create view above as select _id from bronze.shop__orders")
    assert warehouse.column_type("x") == "text"
    query = "select _id, _batch_id, _extracted_at, _deleted_at from bronze.shop__orders order by 1"
    before = warehouse.rows(query), warehouse.rows("select * from ops.checkpoints"), warehouse.changes()
    results = rebuild_table(ref, place[1])
    assert [result.status for result in results] == ["loaded"] * 3
    assert (warehouse.rows(query), warehouse.rows("select * from ops.checkpoints"), warehouse.changes()) == before
    assert warehouse.column_type("x") == "bigint"
    assert warehouse.rows("select _id, x, _rescued from bronze.shop__orders order by 1") == [
        ("1", 5, None),
        ("2", 6, None),
        ("3", 7, None),
    ]
    assert warehouse.rows("select n from bronze.shop__orders__items order by n") == [(2,), (3,)]
    assert warehouse.value("select count(*) from bronze.shop__orders__history") == 4
    assert warehouse.value("select count(*) from above") == 3
    assert warehouse.load([{"_id": 3, "x": 8}], mode="cdc").updated == 1


def test_rebuild_keeps_what_no_batch_since_the_last_complete_read_brings(warehouse: Warehouse, place: Any) -> None:
    warehouse.table = MongoTable(arrays={"items": "table"}, history=True)
    ref = with_table(place, warehouse.table)
    full = {"mode": "full", "scope": SNAPSHOT}
    same = {"_id": 1, "x": 1, "items": [{"n": 1}]}
    warehouse.load([same, *({"_id": n, "x": n, "y": "old", "items": [{"n": n}, {"n": 9}]} for n in (2, 3, 4))], **full)
    warehouse.load([same, {"_id": 2, "x": 22}, {"_id": 4, "x": 4, "y": "old", "items": [{"n": 4}, {"n": 9}]}], **full)
    # Of 4 there is no readable version in the last read, 3 has been gone for two reads, 2 changed once more.
    warehouse.load([same, {"_id": 2, "x": 0.5}, Odd.of({"_id": 4, "odd": True}).raw], **full)
    queries = (
        "select _id, x, y, _rescued, _deleted_at from bronze.shop__orders order by _id",
        "select _id, _root_id, n, _deleted_at from bronze.shop__orders__items order by _id",
        "select _id, x, y, _hash, _valid_from, _valid_to from bronze.shop__orders__history order by _id, _valid_from",
    )
    before = [warehouse.rows(query) for query in queries]
    assert [(row[0], row[4] is None) for row in before[0]] == [("1", True), ("2", True), ("3", False), ("4", True)]
    assert (len(before[1]), len(before[2])) == (5, 6)
    for _ in range(2):
        assert [result.status for result in rebuild_table(ref, place[1])] == ["loaded"]
        assert [warehouse.rows(query) for query in queries] == before
    assert warehouse.rows("select relname from pg_class where relname like 'kept%%'") == []
    warehouse.load([same, {"_id": 3, "x": 3}], **full)
    assert warehouse.rows("select _id, x from bronze.shop__orders where _deleted_at is null order by 1") == [
        ("1", 1),
        ("3", 3),
    ]


def test_rebuild_keeps_the_history_while_it_is_not_written(warehouse: Warehouse, place: Any) -> None:
    warehouse.table = MongoTable(history=True)
    for value in (1, 2):
        warehouse.load([{"_id": 1, "x": value}], mode="full", scope=SNAPSHOT)
    query = "select x, _valid_from, _valid_to from bronze.shop__orders__history order by 1"
    before = warehouse.rows(query)
    assert len(before) == 2
    rebuild_table(with_table(place, MongoTable()), place[1])
    assert warehouse.rows(query) == before


@pytest.mark.parametrize(
    ("old", "new", "pg_type", "told"),
    [
        (Int64(2**53 + 1), 0.5, "numeric", False),
        (5, 0.5, "double precision", False),
        (0.1, Decimal128("0.5"), "numeric", False),
        (-0.0, Decimal128("0.5"), "double precision", True),
        (Decimal128("0.10"), 7, "numeric", True),
        ("odd", 7, "text", True),
    ],
)
def test_rebuild_keeps_deleted_rows_exactly_whatever_the_types_become(
    warehouse: Warehouse, place: Any, old: Any, new: Any, pg_type: str, told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ddl, "WIDEN_MOST_BYTES", 0)
    warehouse.load([{"_id": 1, "x": old}], mode="full", scope=SNAPSHOT)
    warehouse.load([{"_id": 2, "x": new}], mode="full", scope=SNAPSHOT)
    query = "select x::text, _rescued from bronze.shop__orders where _id = '1'"
    before = warehouse.rows(query)
    monkeypatch.undo()
    [result] = rebuild_table(*place)
    assert warehouse.rows(query) == before
    assert warehouse.column_type("x") == pg_type
    assert ["keeps its columns" in warning for warning in result.warnings] == [True] * told
    assert warehouse.value("select count(*) from bronze.shop__orders where _deleted_at is null") == 1


def test_rebuild_keeps_the_rights_on_its_relations(warehouse: Warehouse, place: Any) -> None:
    warehouse.load([{"_id": 1, "x": 1, "secret": 2}], mode="full", scope=SNAPSHOT)
    warehouse.execute("drop role if exists reader_of_bronze; create role reader_of_bronze")
    warehouse.execute("grant select (_id, x) on bronze.shop__orders to reader_of_bronze")
    warehouse.execute("grant delete on bronze.shop__orders to reader_of_bronze with grant option")
    rebuild_table(*place)
    asked = [("x", "select"), ("secret", "select")]
    told = [warehouse.value("select has_column_privilege('reader_of_bronze', 'bronze.shop__orders', %s, %s)", *one)
            for one in asked]  # fmt: skip
    assert told == [True, False]
    assert warehouse.value(
        "select has_table_privilege('reader_of_bronze', 'bronze.shop__orders', 'delete with grant option')"
    )
    warehouse.execute("drop owned by reader_of_bronze; drop role reader_of_bronze")


def test_rebuild_keeps_types_where_views_stand_against_new_ones(warehouse: Warehouse, place: Any) -> None:
    warehouse.load([{"_id": 1, "x": "odd"}], mode="full", scope=SNAPSHOT)
    warehouse.load([{"_id": 1, "x": 5}, {"_id": 2, "x": 6}], mode="cdc")
    warehouse.execute("create view above as select upper(x) as x from bronze.shop__orders")
    [*_, result] = rebuild_table(*place)
    [warning] = result.warnings
    assert warning.startswith("all columns keep their types: public.above cannot be made again: ")
    assert warehouse.column_type("x") == "text"
    assert warehouse.rows("select _id, x, _rescued from bronze.shop__orders order by 1") == [
        ("1", None, {"x": 5}),
        ("2", None, {"x": 6}),
    ]


VALUES_BY_TYPE: dict[str, Any] = {
    "bigint": 5,
    "double precision": 0.5,
    "numeric": Decimal128("0.10"),
    "text": "text",
    "boolean": True,
    "timestamp with time zone": datetime(2026, 1, 2, tzinfo=UTC),
    "uuid": Binary.from_uuid(UUID(int=7)),
    "bytea": b"bytes",
    "jsonb": [1],
}


def test_rebuild_gives_each_type_for_each_other_where_kept_rows_hold_nulls_alone(
    warehouse: Warehouse, place: Any
) -> None:
    pairs = {f"f{a}_{b}": (old, new) for a, old in enumerate(VALUES_BY_TYPE) for b, new in enumerate(VALUES_BY_TYPE)}
    before = {name: VALUES_BY_TYPE[old] for name, (old, _) in pairs.items()}
    after = {name: VALUES_BY_TYPE[new] for name, (_, new) in pairs.items()}
    warehouse.load([{"_id": 1, "own": "stays"}, {"_id": 2, **before}], mode="full", scope=SNAPSHOT)
    warehouse.load([{"_id": 2, **after}], mode="full", scope=SNAPSHOT)
    [result] = rebuild_table(*place)
    assert (result.status, result.rescued) == ("loaded", 0)
    # A numeric stays one: it may hold whole numbers that no double represents.
    staying = {("numeric", "double precision"): "numeric"}
    expected = {name: staying.get(pair, pair[1]) for name, pair in pairs.items()}
    assert {name: warehouse.column_type(name) for name in pairs} == expected
    filled = ", ".join(f'num_nonnulls("{name}")' for name in pairs)
    assert warehouse.rows(f"select _id, own, _deleted_at is null, {filled} from bronze.shop__orders order by 1") == [
        ("1", "stays", False, *[0] * len(pairs)),
        ("2", None, True, *[1] * len(pairs)),
    ]


def test_rebuild_ends_with_one_column_of_the_wider_type(
    warehouse: Warehouse, place: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ddl, "WIDEN_MOST_BYTES", 0)
    warehouse.table = MongoTable(arrays={"items": "table"}, history=True)
    large = 2**53 + 1
    warehouse.load([{"_id": 1, "x": Int64(large), "y": 1, "items": [{"n": 1}]}], mode="full", scope=SNAPSHOT)
    warehouse.load([{"_id": 2, "x": 0.5, "y": 0.5, "items": [{"n": 0.5}, {"n": 2}]}], mode="cdc")
    warehouse.execute("create view above as select y, y__double from bronze.shop__orders")
    warehouse.execute("create view older as select _id, y__double from bronze.shop__orders__history")
    warehouse.execute("create view higher as select * from above")
    monkeypatch.undo()
    for _ in range(2):
        *_, result = rebuild_table(with_table(place, warehouse.table), place[1])
        assert [warehouse.column_type(name) for name in ("x", "x__double", "y", "y__double")] == [
            "numeric",
            None,
            "bigint",
            "double precision",
        ]
        assert warehouse.rows("select x::text from bronze.shop__orders order by _id") == [(str(large),), ("0.5",)]
        assert warehouse.rows("select * from above order by 1") == [(1, None), (None, 0.5)]
        assert result.warnings == [
            "y keeps its columns y and y__double, with their values, as views name more than the first: public.above,"
            " public.older; to have one column, drop these views, rebuild again, and make them over y alone"
        ]
        assert warehouse.rows("select n from bronze.shop__orders__items order by _id") == [(1,), (0.5,), (2,)]
        assert warehouse.column_type("n__double", "shop__orders__items") is None
        assert warehouse.column_type("x__double", "shop__orders__history") is None
    told = dict(warehouse.rows("select field, action from ops.schema_changes where action like '%%takes all%%'"))
    assert told == {
        "x": "column x takes all values: x__double gone",
        "items[].n": "column n takes all values: n__double gone",
    }
    warehouse.execute("drop view higher; drop view above; drop view older")
    *_, result = rebuild_table(with_table(place, warehouse.table), place[1])
    assert result.warnings == []
    assert warehouse.rows("select y from bronze.shop__orders order by _id") == [(1.0,), (0.5,)]
    assert [warehouse.column_type("y__double", f"shop__orders{end}") for end in ("", "__history")] == [None, None]
    monkeypatch.setattr(ddl, "WIDEN_MOST_BYTES", 0)
    warehouse.load([{"_id": 3, "x": 7, "y": Decimal128("0.1"), "z": 1, "items": []}], mode="cdc")
    warehouse.load([{"_id": 4, "y": 2, "z": 0.5, "items": []}], mode="cdc")
    assert warehouse.rows("select y, y__decimal::text, z, z__double from bronze.shop__orders where z__double > 0") == [
        (2.0, None, None, 0.5)
    ]
    assert warehouse.value("select y__decimal::text from bronze.shop__orders where _id = '3'") == "0.1"


def test_rebuild_brings_in_whole_numbers_that_a_double_could_not_tell(warehouse: Warehouse, place: Any) -> None:
    large = 2**53 + 1
    # Allowed no wider column once, and the row is no longer there: only the replayed batch shows the number.
    warehouse.table = MongoTable(on_drift=OnDrift(new="rescue"))
    warehouse.load([{"_id": 1, "x": -0.0, "y": 0.5}], mode="full", scope=SNAPSHOT)
    warehouse.load([{"_id": 2, "x": Int64(large)}, {"_id": 3, "x": 7, "y": 0.1}], mode="cdc")
    assert warehouse.value("select _rescued from bronze.shop__orders where _id = '2'") == {"x": large}
    warehouse.load([{"_id": 2, "x": 4}], mode="cdc")
    assert [result.status for result in rebuild_table(with_table(place, MongoTable()), place[1])] == ["loaded"] * 3
    assert warehouse.rows("select x::text, y from bronze.shop__orders order by _id") == [
        ("0", 0.5),
        ("4", None),
        ("7", 0.1),
    ]
    assert [warehouse.column_type(name) for name in ("x", "x__decimal", "y")] == ["numeric", None, "double precision"]


def test_rebuild_keeps_both_columns_where_a_materialized_view_stands_against_new_types(
    warehouse: Warehouse, place: Any
) -> None:
    warehouse.table = MongoTable(on_drift=OnDrift(new="rescue"))
    warehouse.load([{"_id": 1, "x": 1}], mode="full", scope=SNAPSHOT)
    warehouse.execute("create materialized view above as select x from bronze.shop__orders")
    warehouse.load([{"_id": 2, "x": 0.5}], mode="cdc")
    query = "select x, x__double, _rescued from bronze.shop__orders order by _id"
    assert warehouse.value("select _rescued from bronze.shop__orders where _id = '2'") == {"x": 0.5}
    rows = [(1, None, None), (None, 0.5, None)]
    for _ in range(2):
        *_, result = rebuild_table(with_table(place, MongoTable()), place[1])
        assert warehouse.rows(query) == rows
        assert result.warnings == [f"all columns keep their types: {ddl.ABOVE}"]
    # What the first rebuild could do for the value that was rescued is news, and told once.
    assert [change for change in warehouse.changes() if change[1] == "widened"] == [("x", "widened")]


def test_rebuild_refuses_when_a_batch_is_missing(warehouse: Warehouse, place: Any) -> None:
    warehouse.load([{"_id": 1}], mode="full", scope=SNAPSHOT)
    middle = warehouse.land([{"_id": 2}], mode="cdc")
    warehouse.load_landed(middle)
    warehouse.load([{"_id": 3}], mode="cdc")
    warehouse.landing.delete("shop", "orders", middle.batch_id)
    with pytest.raises(LoadError, match="no longer there"):
        rebuild_table(*place)
    assert warehouse.value("select count(*) from bronze.shop__orders") == 3


def test_retention_keeps_what_is_not_loaded_and_what_a_rebuild_needs(warehouse: Warehouse, place: Any) -> None:
    batches = [warehouse.land([{"_id": n}], mode="full", scope=SNAPSHOT) for n in range(3)]
    batches.append(warehouse.land([{"_id": 9}], mode="cdc"))
    batches.append(warehouse.land([{"_id": 10}], mode="full", scope=SNAPSHOT))
    for manifest in batches[:4]:
        warehouse.load_landed(manifest)
    assert retain(*place, keep=timedelta(days=365_000)).removed == []
    done = retain(*place, keep=timedelta(0))
    assert done.removed == [manifest.batch_id for manifest in batches[:2]] and done.bytes > 0
    assert warehouse.landing.batches("shop", "orders") == [manifest.batch_id for manifest in batches[2:]]
    assert len(rebuild_table(*place)) == 2
    assert [result.status for result in load_pending(*place)] == ["loaded"]


@dataclass
class Odd:
    """A document whose last element has a type that no specification has, until it is mended."""

    raw: bytes

    @classmethod
    def of(cls, document: dict[str, Any]) -> Odd:
        return cls(bson.encode(document)[:-1].replace(b"\x08odd\x00", b"\x7eodd\x00") + b"\x00")


def test_rejects_are_replayed_unless_a_later_read_is_there(
    warehouse: Warehouse, place: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = [Odd.of({"_id": n, "v": n, "odd": True}).raw for n in (1, 2)]
    warehouse.load([{"_id": 0, "v": 0}, *bad])
    warehouse.load([{"_id": 2, "v": 22}])
    assert replay(*place).refused == 2
    from tasks.mongodb import reading

    make = reading.make_decoder

    class Mended:
        def __init__(self, **options: Any) -> None:
            self._inner = make(**options)

        def push(self, raw: bytes) -> int:
            return self._inner.push(raw.replace(b"\x7eodd\x00", b"\x08odd\x00"))

        def flush(self) -> Any:
            return self._inner.flush()

    monkeypatch.setattr(reading, "make_decoder", Mended)
    done = replay(*place)
    assert (done.loaded, done.outdated, done.refused) == (1, 1, 0)
    assert warehouse.rows("select _id, v, odd from bronze.shop__orders order by 1") == [
        ("0", 0, None),
        ("1", 1, True),
        ("2", 22, None),
    ]
    rejects = "select id, seen_at, replayed_at, outcome from ops.rejects order by id"
    told = warehouse.rows(rejects)
    query = "select _id, v, odd from bronze.shop__orders order by 1"
    rows = warehouse.rows(query)
    # The replay's batch begins where the first one did, and holds nothing of it but the rejects.
    assert retain(*place, keep=timedelta(0)).removed == []
    assert len(rebuild_table(*place)) == 3
    assert warehouse.rows(query) == rows and warehouse.rows(rejects) == told
    with database.connect(warehouse.url) as connection:
        assert find(connection, [TableKey(*warehouse.place)], waiting=True) == []
    assert warehouse.value("select state from ops.checkpoints") == {"tick": 2}
    assert load_pending(*place) == []
    assert warehouse.load([{"_id": 0, "v": 1}]).updated == 1


@dataclass
class Block:
    state: dict[str, Any]
    version: int
    rewind_to: dict[str, Any] | None = None


def test_row_and_block_are_reconciled_in_both_directions(warehouse: Warehouse) -> None:
    place = ("shop", "orders")
    with database.connect(warehouse.url, autocommit=True) as connection:
        migrations.migrate(connection)
        assert checkpoints.reconcile(connection, *place, None).checkpoint is None
        stale = checkpoints.reconcile(connection, *place, Block({"tick": 9}, 9))
        assert stale.checkpoint is None and stale.block_behind
        warehouse.load([{"_id": 1}])
        behind = checkpoints.reconcile(connection, *place, Block({}, 0))
        assert behind.block_behind and behind.checkpoint is not None and behind.checkpoint.state == {"tick": 1}
        ahead = checkpoints.reconcile(connection, *place, Block({"tick": 99}, 7))
        assert ahead.block_behind and ahead.checkpoint == behind.checkpoint
        assert not checkpoints.reconcile(connection, *place, Block({"tick": 1}, 1)).block_behind
        rewound = checkpoints.reconcile(connection, *place, Block({"tick": 1}, 1, {"tick": 0}))
        assert rewound.rewound and rewound.checkpoint is not None
        assert (rewound.checkpoint.state, rewound.checkpoint.version) == ({"tick": 0}, 2)
    assert warehouse.rows("select cause, state from ops.checkpoint_history order by id") == [
        ("load", {"tick": 1}),
        ("rewind", {"tick": 0}),
    ]


def test_a_wish_that_came_after_the_blocks_were_looked_up_is_carried_out_and_not_overwritten(
    warehouse: Warehouse, place: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.blocks import BlockState
    from flows.tables import start_state
    from tasks import checkpoint_block

    ref, settings = place
    warehouse.load([{"_id": 1}])
    looked_up = BlockState({}, 0)
    monkeypatch.setattr(checkpoint_block, "load", lambda *_: Block({}, 0, {"tick": 0}))
    saved: list[Any] = []
    monkeypatch.setattr(checkpoint_block, "save", lambda _source, _table, checkpoint: saved.append(checkpoint))
    assert start_state(settings, ref, looked_up) == {"tick": 0}
    assert [(checkpoint.state, checkpoint.version) for checkpoint in saved] == [({"tick": 0}, 2)]
    assert warehouse.value("select state from ops.checkpoints") == {"tick": 0}


def test_a_batch_read_before_a_rewind_loads_but_does_not_undo_it(warehouse: Warehouse) -> None:
    warehouse.load([{"_id": 1}])
    warehouse.execute("update ops.checkpoints set rewound_at = '2027-01-01', state = '{\"tick\": 0}', version = 2")
    result = warehouse.load([{"_id": 2}])
    assert result.inserted == 1 and "set by hand" in result.warnings[0]
    assert warehouse.value("select state from ops.checkpoints") == {"tick": 0}
