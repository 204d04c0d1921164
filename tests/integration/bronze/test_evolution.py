"""Drift: columns that widen under views, names, spilled columns, renames, vanished fields, and their ledger."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import bson
import psycopg
import pytest
from bson import ObjectId
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.bronze import ddl, merge
from tasks.bronze.filling import Filling
from tasks.bronze.plan import Column, reading
from tasks.bronze.rebuild import rebuild_table
from tasks.errors import LoadError
from tasks.mongodb.config import MongoSource, MongoTable
from tasks.ops import TableKey, columns
from tasks.settings import Settings
from tasks.sources import OnDrift, TableRef
from tests.integration.bronze.conftest import Warehouse


def test_a_column_widens_in_place_under_views_that_stay_as_they_were(warehouse: Warehouse) -> None:
    warehouse.load([{"_id": 1, "total": 5}, {"_id": 2, "total": 7}])
    for statement in (
        "create role reader_of_views",
        "create view low as select _id, total from bronze.shop__orders",
        "create view high with (security_barrier=true) as select sum(total) as total from low",
        "comment on view high is 'it''s the sum'",
        "comment on column low.total is 'as ordered'",
        "grant select on high to reader_of_views",
        "grant select (total) on low to reader_of_views with grant option",
    ):
        warehouse.execute(statement)
    described = """
        select c.relname, c.relacl::text, c.reloptions, obj_description(c.oid), a.attacl::text,
               col_description(c.oid, a.attnum)
        from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attname = 'total'
        where c.relkind = 'v' and c.relnamespace = 'public'::regnamespace order by 1
    """
    before = warehouse.rows(described)
    try:
        warehouse.load([{"_id": 3, "total": 0.5}])
        assert warehouse.column_type("total") == "double precision"
        assert warehouse.rows("select total from high") == [(12.5,)]
        assert warehouse.rows(described) == before
        warehouse.load([{"_id": 4, "total": Decimal128("0.1")}])
        assert warehouse.column_type("total") == "numeric"
        assert str(warehouse.value("select total from high")) == "12.6"
        assert warehouse.rows(
            "select field, change, old_type, new_type from ops.schema_changes where change = 'widened'"
        ) == [
            ("total", "widened", "bigint", "double precision"),
            ("total", "widened", "double precision", "numeric"),
        ]
    finally:
        for statement in ("drop view high", "drop view low", "drop role reader_of_views"):
            warehouse.execute(statement)


def test_whole_numbers_beyond_doubles_widen_to_numeric(warehouse: Warehouse) -> None:
    warehouse.load([{"_id": 1, "n": Int64(2**53 + 1)}])
    warehouse.load([{"_id": 2, "n": 0.5}])
    assert warehouse.column_type("n") == "numeric"
    assert [str(row[0]) for row in warehouse.rows("select n from bronze.shop__orders order by _id")] == [
        "9007199254740993",
        "0.5",
    ]


def test_what_cannot_be_widened_gets_a_column_beside_it_and_the_reason_is_told(warehouse: Warehouse) -> None:
    warehouse.load([{"_id": 1, "n": 5}])
    warehouse.execute("create materialized view fixed as select n from bronze.shop__orders")
    manifest = warehouse.land([{"_id": 2, "n": 0.5}, {"_id": 3, "n": 7}])
    result = warehouse.load_landed(manifest)
    assert (result.rescued, result.schema_changes) == (0, 1)
    assert (warehouse.column_type("n"), warehouse.column_type("n__double")) == ("bigint", "double precision")
    rows = [("1", 5, None, None), ("2", None, 0.5, None), ("3", 7, None, None)]
    query = "select _id, n, n__double, _rescued from bronze.shop__orders order by 1"
    assert warehouse.rows(query) == rows
    [(action, *types, evidence)] = warehouse.rows(
        "select action, old_type, new_type, evidence from ops.schema_changes where change = 'widened'"
    )
    assert action.startswith("column n__double added beside n: ") and "materialized view" in action
    assert types == ["bigint", "double precision"]
    assert evidence == {"dbt": 'coalesce("n__double"::text::numeric, "n") as "n"'}
    assert warehouse.rows(f"select {evidence['dbt']} from bronze.shop__orders order by _id") == [
        (Decimal(5),),
        (Decimal("0.5"),),
        (Decimal(7),),
    ]
    published = "select path, column_name, data_type, place from ops.bronze_columns where relation = 'shop__orders'"
    assert sorted(warehouse.rows(published)) == [("n", "n", "bigint", 1), ("n", "n__double", "double precision", 2)]
    warehouse.execute("refresh materialized view fixed")
    assert warehouse.load_landed(manifest).status == "already_loaded"
    assert warehouse.rows(query) == rows
    warehouse.load([{"_id": 4, "n": 1.5}])
    assert warehouse.changes() == [("n", "appeared"), ("n", "widened")]


def test_a_relation_that_is_too_large_to_be_rewritten_gets_a_column_for_each_wider_kind(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    warehouse.table = MongoTable(arrays={"items": "table"}, history=True)
    monkeypatch.setattr(ddl, "WIDEN_MOST_BYTES", 0)
    large = 2**53 + 1
    warehouse.load([{"_id": 1, "n": Int64(large), "items": [{"q": 1}]}])
    warehouse.execute("create view above as select n from bronze.shop__orders")
    filenode = "select pg_relation_filenode('bronze.shop__orders')"
    before = warehouse.value(filenode)
    warehouse.load([{"_id": 2, "n": 0.1, "items": [{"q": 0.5}, {"q": 2}]}], mode="cdc")
    warehouse.load([{"_id": 3, "n": Decimal128("1E+30"), "d": 5, "items": []}], mode="cdc")
    assert warehouse.value(filenode) == before
    query = "select _id, n, n__double, n__decimal, _rescued from bronze.{} order by _id, _batch_id"
    rows = [
        ("1", large, None, None, None),
        ("2", None, 0.1, None, None),
        ("3", None, None, Decimal(10**30), None),
    ]
    assert warehouse.rows(query.format("shop__orders")) == rows
    assert warehouse.rows("select _id, q, q__double from bronze.shop__orders__items order by 1") == [
        ("1:0", 1, None),
        ("2:0", None, 0.5),
        ("2:1", 2, None),
    ]
    warehouse.load([{"_id": 2, "n": 4, "items": []}, {"_id": 1, "n": 1.5, "items": []}], deletes=[3], mode="cdc")
    assert warehouse.rows(query.format("shop__orders")) == [
        ("1", None, 1.5, None, None),
        ("2", 4, None, None, None),
        ("3", None, None, Decimal(10**30), None),
    ]
    assert warehouse.value("select _deleted_at is not null from bronze.shop__orders where _id = '3'")
    assert warehouse.rows(query.format("shop__orders__history")) == [
        ("1", large, None, None, None),
        ("1", None, 1.5, None, None),
        ("2", None, 0.1, None, None),
        ("2", 4, None, None, None),
        ("3", None, None, Decimal(10**30), None),
    ]
    assert [field for field, change in warehouse.changes() if change == "widened"] == ["n", "items[].q", "n"]
    dbt = warehouse.value("select evidence->>'dbt' from ops.schema_changes where new_type = 'numeric'")
    assert dbt == 'coalesce("n__decimal", "n__double"::text::numeric, "n") as "n"'
    assert warehouse.rows("select * from above order by 1") == [(4,), (None,), (None,)]


def test_a_wider_column_takes_whole_numbers_too_that_the_old_one_cannot_tell(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ddl, "WIDEN_MOST_BYTES", 0)
    large = 2**53 + 1
    warehouse.load([{"_id": 1, "n": 0.5}])
    warehouse.load([{"_id": 2, "n": Int64(large)}, {"_id": 3, "n": Decimal128("0.10")}, {"_id": 4, "n": 7}])
    warehouse.load([{"_id": 2, "n": Int64(large), "again": True}])
    assert warehouse.rows("select _id, n, n__decimal::text, _rescued from bronze.shop__orders order by 1") == [
        ("1", 0.5, None, None),
        ("2", None, str(large), None),
        ("3", None, "0.10", None),
        ("4", 7.0, None, None),
    ]


def test_a_whole_number_that_no_double_represents_widens_the_column_all_by_itself(warehouse: Warehouse) -> None:
    warehouse.table = MongoTable(arrays={"items": "table"}, history=True)
    large = 2**53 + 1
    warehouse.load([{"_id": 1, "m": 0.5, "n": 0.5, "items": [{"q": 0.5}]}])
    warehouse.execute("create view above as select _id, n from bronze.shop__orders")
    batch = [
        {"_id": 2, "n": 5, "items": []},
        {"_id": 3, "n": Int64(large), "new": 1.5, "items": [{"q": Int64(-large)}]},
        {"_id": 4, "m": Int64(large), "new": Int64(large), "items": []},
    ]
    result = warehouse.load(batch, part_rows=1)
    assert (result.rescued, result.inserted, result.child_rows) == (0, 3, 1)
    for relation in ("shop__orders", "shop__orders__history"):
        query = f"select _id, m::text, n::text, new::text, _rescued from bronze.{relation} order by 1"
        assert warehouse.rows(query) == [
            ("1", "0.5", "0.5", None, None),
            ("2", None, "5", None, None),
            ("3", None, str(large), "1.5", None),
            ("4", str(large), None, str(large), None),
        ]
    assert warehouse.rows("select q::text, _rescued from bronze.shop__orders__items order by _id") == [
        ("0.5", None),
        (str(-large), None),
    ]
    assert warehouse.rows("select n from above order by _id")[2] == (Decimal(large),)
    told = "select field, old_type, new_type from ops.schema_changes where change <> 'appeared' order by 1"
    assert warehouse.rows(told) == [(name, "double precision", "numeric") for name in ("items[].q", "m", "n")]
    # A column that is new has the right type from the start.
    assert warehouse.rows("select change, new_type from ops.schema_changes where field = 'new'") == [
        ("appeared", "numeric")
    ]


def test_batches_that_were_landed_before_such_numbers_were_counted_are_searched_for_them(warehouse: Warehouse) -> None:
    large = 2**53 + 1
    warehouse.load([{"_id": 1, "n": 0.5}])
    manifest = warehouse.land([{"_id": 2, "n": 5}, {"_id": 3, "n": Int64(large), "new": 1.5}], part_rows=1)
    assert [part.beyond_double for part in manifest.parts] == [{}, {"n": 1}]
    older = [part.model_copy(update={"beyond_double": None}) for part in manifest.parts]
    assert warehouse.load_landed(manifest.model_copy(update={"parts": older})).rescued == 0
    assert warehouse.rows("select n::text from bronze.shop__orders order by _id") == [("0.5",), ("5",), (str(large),)]


@pytest.mark.parametrize("policy", [OnDrift(), OnDrift(new="rescue")], ids=["beside", "rescued"])
def test_a_whole_number_that_no_double_represents_goes_beside_a_column_that_must_stay_a_double_or_is_rescued(
    warehouse: Warehouse, policy: OnDrift
) -> None:
    warehouse.table = MongoTable(on_drift=policy)
    large = 2**63 - 1
    warehouse.load([{"_id": 1, "n": -0.0}])
    warehouse.load([{"_id": 2, "n": Int64(large)}, {"_id": 3, "n": 7}])
    changes = "select change, action, new_type from ops.schema_changes where change <> 'appeared'"
    [(change, action, new_type)] = warehouse.rows(changes)
    assert action.endswith(": it holds values that the wider type cannot tell exactly")
    if policy.new == "add":
        assert (change, new_type) == ("widened", "numeric") and action.startswith("column n__decimal added beside n")
        assert warehouse.rows("select n::text, n__decimal::text, _rescued from bronze.shop__orders order by _id") == [
            ("-0", None, None),
            (None, str(large), None),
            ("7", None, None),
        ]
    else:
        assert (change, new_type) == ("type_conflict", "int") and warehouse.column_type("n__decimal") is None
        assert warehouse.rows("select n::text, _rescued from bronze.shop__orders order by _id") == [
            ("-0", None),
            (None, {"n": large}),
            ("7", None),
        ]


@pytest.mark.parametrize("value", [-0.0, 4.596057713327126e16, -1e300])
def test_values_that_a_wider_type_cannot_tell_keep_their_column(warehouse: Warehouse, value: float) -> None:
    warehouse.load([{"_id": 1, "n": value}])
    warehouse.load([{"_id": 2, "n": Decimal128("0.10")}])
    [old, new] = warehouse.rows("select n, n__decimal::text, _rescued from bronze.shop__orders order by _id")
    assert (str(old[0]), *old[1:]) == (str(value), None, None)
    assert new == (None, "0.10", None)


def test_a_refused_widening_found_late_gets_a_column_beside_it_too(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    warehouse.load([{"_id": 1, "n": 5}, {"_id": 2, "n": 6}])
    monkeypatch.setattr(ddl, "why_not_rewrite", lambda *_: None)
    warehouse.execute("alter table bronze.shop__orders add constraint c check (n & 1 >= 0)")
    result = warehouse.load([{"_id": 2, "n": 0.5}, {"_id": 3, "n": "text"}])
    assert (warehouse.column_type("n"), result.rescued) == ("bigint", 1)
    assert warehouse.rows("select n, n__double, _rescued from bronze.shop__orders order by _id") == [
        (5, None, None),
        (None, 0.5, None),
        (None, None, {"n": "text"}),
    ]
    actions = dict(warehouse.rows("select change, action from ops.schema_changes where change <> 'appeared'"))
    assert actions["type_conflict"] == "1 values kept in _rescued"
    assert "Postgres refused" in actions["widened"]


def test_the_name_of_a_column_beside_gives_way_to_a_field_and_stays(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ddl, "WIDEN_MOST_BYTES", 0)
    warehouse.load([{"_id": 1, "n": 5, "m": 5}])
    warehouse.load([{"_id": 2, "n": {"double": "a field"}, "m": 0.5}, {"_id": 3, "n": 0.5}])
    warehouse.load([{"_id": 4, "n": 1.5, "m": {"double": 3}}])
    columns = warehouse.rows("select path, column_name from ops.columns where path like '_%%.%%' or kind = 'double'")
    named = {path: name for path, name in columns}
    assert (named["n.double"], named["m"]) == ("n__double", "m__double")
    other, field = named["n"], named["m.double"]
    assert other.startswith("n__double__") and field.startswith("m__double__")
    assert warehouse.rows(
        f'select "{other}", n__double, m__double, "{field}" from bronze.shop__orders order by _id'
    ) == [
        (None, None, None, None),
        (None, "a field", 0.5, None),
        (0.5, None, None, None),
        (1.5, None, None, 3),
    ]


@pytest.mark.parametrize(
    ("policy", "fails"),
    [(OnDrift(type="fail"), True), (OnDrift(new="rescue"), False), (OnDrift(new="fail"), False)],
)
def test_policies_against_change_allow_no_column_beside(
    warehouse: Warehouse, policy: OnDrift, fails: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ddl, "WIDEN_MOST_BYTES", 0)
    warehouse.table = MongoTable(on_drift=policy)
    warehouse.load([{"_id": 1, "n": 5}])
    if fails:
        with pytest.raises(LoadError, match=r"on_drift\.type"):
            warehouse.load([{"_id": 2, "n": 0.5}])
    else:
        assert warehouse.load([{"_id": 2, "n": 0.5}]).rescued == 1
        assert warehouse.rows("select n, _rescued from bronze.shop__orders where _id = '2'") == [(None, {"n": 0.5})]
        conflict = "select action from ops.schema_changes where change = 'type_conflict'"
        assert "too large to be rewritten" in warehouse.value(conflict)
    assert warehouse.column_type("n__double") is None


_tables = iter(range(10**9))
NUMBERS = st.one_of(
    st.integers(-5, 5).map(Int64),
    st.sampled_from([2**53 + 1, -(2**53) - 1, 2**63 - 1]).map(Int64),
    st.floats(allow_nan=False, allow_infinity=False).map(lambda value: value or 0.0),
    st.decimals(-(10**20), 10**20, places=3),
)
BATCHES = st.lists(
    st.tuples(st.booleans(), st.dictionaries(st.integers(1, 4), NUMBERS, min_size=1)), min_size=2, max_size=5
)


def as_given(rows: list[tuple[str, Decimal]], values: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """Return decimals as the doubles they stand for where doubles were given."""
    return [(key, type(value)(found)) for (key, found), (_, value) in zip(rows, values, strict=True)]


def in_bson(value: Any) -> Any:
    return Decimal128(value) if isinstance(value, Decimal) else value


def columns_of(warehouse: Warehouse) -> list[Column]:
    with psycopg.connect(warehouse.url) as connection:
        return columns.of_relation(connection, TableKey(*warehouse.place), "")


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(BATCHES)
def test_numbers_of_every_kind_are_read_exactly_whatever_could_be_widened_when(
    module_postgres_url: str, landing: Any, batches: list[tuple[bool, dict[int, Any]]]
) -> None:
    warehouse = Warehouse(module_postgres_url, landing, "numbers", f"t{next(_tables)}")
    relation = f"bronze.numbers__{warehouse.place[1]}"
    values: dict[int, Any] = {}
    for large, batch in batches:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ddl, "WIDEN_MOST_BYTES", 0 if large else 1 << 30)
            warehouse.load([{"_id": key, "n": in_bson(value)} for key, value in batch.items()])
        values |= batch
    expected = sorted((str(key), value) for key, value in values.items())
    read = reading(columns_of(warehouse))
    query = f"select _id, {read} from {relation} where _rescued is null order by 1"
    assert as_given(warehouse.rows(query), expected) == expected
    source = MongoSource.model_validate(
        {"kind": "mongodb", "uri": "mongodb://nowhere", "database": "shop", "tables": {warehouse.place[1]: {}}}
    )
    known = Settings.model_validate({"url": warehouse.url, "landing": landing.root})
    rebuild_table(TableRef(*warehouse.place, source, warehouse.table), known)
    assert [column.name for column in columns_of(warehouse)] == ["n"]
    anew = warehouse.rows(f"select _id, n::text::numeric from {relation} where _rescued is null order by 1")
    assert as_given(anew, expected) == expected


def test_the_same_batch_gives_the_same_types_whatever_the_order(warehouse: Warehouse, another: Any) -> None:
    documents: list[dict[str, Any]] = [
        {"_id": 1, "x": 1},
        {"_id": 2, "x": "a"},
        {"_id": 3, "x": "b"},
        {"_id": 4, "x": 1.5},
        {"_id": 5, "x": "c"},
    ]
    other = another("shop", "other")
    warehouse.load(documents)
    other.load(documents[::-1])
    assert warehouse.column_type("x") == other.column_type("x", "shop__other") == "text"
    query = "select _id, x, _rescued from bronze.{} order by 1"
    assert warehouse.rows(query.format("shop__orders")) == other.rows(query.format("shop__other"))


def test_names_are_valid_distinct_and_stable(warehouse: Warehouse) -> None:
    long = "x" * 80
    document = {
        "_id": 1,
        "Total": 1,
        "total": 2,
        "_hash": 3,
        "ctid": 4,
        "": 5,
        long: 6,
        long + "y": 7,
        "a": {"b": 8},
        "a__b": 9,
        "dotted.key": 10,
        'quo"te': 11,
        "ünï": 12,
        "_batch_id": "mine",
        "select": 13,
        "user": 14,
    }
    warehouse.load([document])
    names = dict(warehouse.rows("select path, column_name from ops.columns"))
    assert len({name.lower() for name in names.values()}) == len(names) == 15
    assert all(len(name.encode()) <= 63 for name in names.values())
    assert (names["total"], names["_hash"], names["ctid"], names["_batch_id"]) == (
        "total",
        "_hash_",
        "ctid_",
        "_batch_id_",
    )
    values = warehouse.rows("select to_jsonb(t) from bronze.shop__orders t")[0][0]
    expected = {
        "Total": 1,
        "total": 2,
        "_hash": 3,
        "ctid": 4,
        "": 5,
        long: 6,
        long + "y": 7,
        "a.b": 8,
        "a__b": 9,
        "dotted\\.key": 10,
        'quo"te': 11,
        "ünï": 12,
        "_batch_id": "mine",
        "select": 13,
        "user": 14,
    }
    assert {path: values[name] for path, name in names.items()} == expected
    warehouse.load([{"_id": 2, "TOTAL": 1}])
    assert dict(warehouse.rows("select path, column_name from ops.columns")) | names == dict(
        warehouse.rows("select path, column_name from ops.columns")
    )


def test_rescued_and_sanitised_values_are_counted_by_field(warehouse: Warehouse) -> None:
    warehouse.load([{"_id": 1, "a": 1, "b": "x"}])
    warehouse.load([{"_id": 2, "a": "text", "b": "nul\x00"}, {"_id": 3, "a": "text", "b": "y"}])
    query = "select path, rescued, sanitised, present from ops.field_statistics where batch_id like '%02' order by 1"
    assert warehouse.rows(query) == [("_id", 0, 0, 2), ("a", 2, 0, 2), ("b", 0, 1, 2)]


def test_columns_beyond_the_most_live_in_rescued(warehouse: Warehouse) -> None:
    wide = {"_id": 1} | {f"f{number:04d}": number for number in range(1_700)}
    result = warehouse.load([wide])
    assert result.rescued == 1
    [(values, rescued)] = warehouse.rows("select to_jsonb(t), _rescued from bronze.shop__orders t")
    read = {name: rescued[name] if name in rescued else values[name] for name in wide if name != "_id"}
    assert read == {name: value for name, value in wide.items() if name != "_id"}
    assert values["f0000"] == 0 and len(rescued) >= 300
    narrow = warehouse.load([{"_id": 2, "f1399": 5, "f1650": 6}])
    assert narrow.rescued == 1
    assert warehouse.rows("select f1399, _rescued from bronze.shop__orders where _id = '2'") == [(5, {"f1650": 6})]


def test_a_rename_is_suggested_with_its_evidence_and_the_dbt_line(warehouse: Warehouse) -> None:
    old = [{"_id": n, "zip": f"{n:05d}", "state": "open"} for n in range(50)]
    warehouse.load(old, mode="full", scope={"type": "snapshot"})
    new = [{"_id": n, "postcode": f"{n:05d}", "state": "open", "status": "open"} for n in range(50)]
    warehouse.load(new, mode="full", scope={"type": "snapshot"})
    [(field, evidence)] = warehouse.rows("select field, evidence from ops.schema_changes where change = 'renamed'")
    assert (field, evidence["renamed_from"], evidence["rows_compared"], evidence["share"]) == (
        "postcode",
        "zip",
        50,
        1.0,
    )
    assert evidence["dbt"] == 'coalesce("postcode", "zip") as "postcode"'
    assert ("zip", "vanished") in warehouse.changes()
    warehouse.load(old, mode="full", scope={"type": "snapshot"})
    assert ("zip", "reappeared") in warehouse.changes()


def test_a_rare_field_that_is_absent_by_chance_is_not_called_vanished(warehouse: Warehouse) -> None:
    warehouse.load([{"_id": n, "a": 1} | ({"rare": 1} if n == 0 else {}) for n in range(100)])
    warehouse.load([{"_id": n, "a": 2} for n in range(100)])
    assert ("rare", "vanished") not in warehouse.changes()
    warehouse.load([{"_id": n, "b": 2} for n in range(100)])
    assert ("a", "vanished") in warehouse.changes()


def test_a_field_that_a_handful_of_alike_documents_lack_is_not_called_vanished_until_enough_do(
    warehouse: Warehouse,
) -> None:
    warehouse.load([{"_id": n, "a": 1, "items": [{"k": 1}]} for n in range(100)])
    for batch in (range(100, 106), range(106, 113)):
        warehouse.load([{"_id": n, "b": 2} for n in batch])
        assert ("a", "vanished") not in warehouse.changes()
    # A document that has it starts the count anew.
    warehouse.load([{"_id": 113, "a": 1}])
    warehouse.load([{"_id": n, "b": 2} for n in range(114, 127)])
    assert ("a", "vanished") not in warehouse.changes()
    warehouse.load([{"_id": 127, "b": 2}])
    query = "select field, (evidence->>'rows')::int from ops.schema_changes where change = 'vanished' and field = 'a'"
    assert warehouse.rows(query) == [("a", 14)]


@pytest.mark.parametrize(
    ("policy", "document"),
    [
        (OnDrift(new="fail"), {"_id": 2, "a": 1, "b": 1, "c": 0.5, "surprise": 1}),
        (OnDrift(type="fail"), {"_id": 2, "a": "text", "b": 1, "c": 0.5, "surprise": 1}),
        (OnDrift(type="fail"), {"_id": 2, "a": 1, "b": 1, "c": Int64(2**53 + 1), "surprise": 1}),
        (OnDrift(type="fail"), {"_id": 2, "a": 1, "b": 1, "c": 0.5, "surprise": DatetimeMS(2**62)}),
        (OnDrift(missing="fail"), {"_id": 2, "b": 1, "c": 0.5, "surprise": 1}),
    ],
)
def test_policies_that_fail_change_no_row_and_no_column(
    warehouse: Warehouse, policy: OnDrift, document: dict[str, Any]
) -> None:
    warehouse.table = MongoTable(on_drift=policy)
    warehouse.load([{"_id": n, "a": n, "b": n, "c": 0.5} for n in range(1, 50)])
    asked = (
        "select * from bronze.shop__orders order by _id",
        "select attname, atttypid from pg_attribute where attrelid = 'bronze.shop__orders'::regclass order by attnum",
        "select * from ops.columns order by path",
        "select * from ops.schema_changes order by id",
    )
    before = [warehouse.rows(query) for query in asked]
    with pytest.raises(LoadError, match=r"on_drift\."):
        warehouse.load([document | {"_id": n} for n in range(2, 16)])
    assert [warehouse.rows(query) for query in asked] == before
    assert warehouse.value("select version from ops.checkpoints") == 1


@pytest.mark.usefixtures("encoder")
def test_values_that_are_in_rescued_alone_are_conflicts_and_those_in_another_form_are_not(
    warehouse: Warehouse,
) -> None:
    twice = bson.encode({"_id": 1, "j": [{"k": 1, "l": 2}]}).replace(b"\x10l\x00", b"\x10k\x00")
    documents = [
        twice,
        {"_id": 2, "n": 0.5, "d": DatetimeMS(0), "t": "a", "x": Decimal128("1")},
        {"_id": 3, "n": "odd", "d": DatetimeMS(2**62), "t": "a\x00", "x": Decimal128("-0")},
        {"_id": 4, "t": ObjectId("64b000000000000000000001")},
    ]
    warehouse.load(documents)
    query = "select field, old_type, new_type, action from ops.schema_changes where change = 'type_conflict' order by 1"
    assert warehouse.rows(query) == [
        ("d", "timestamp with time zone", "date", "1 values kept in _rescued"),
        ("j", "jsonb", "json", "1 values kept in _rescued"),
        ("n", "double precision", "string", "1 values kept in _rescued"),
    ]
    query = "select path, rescued, sanitised from ops.field_statistics where rescued + sanitised > 0 order by 1"
    assert warehouse.rows(query) == [("d", 1, 0), ("j", 1, 0), ("n", 1, 0), ("t", 0, 2), ("x", 0, 1)]
    warehouse.table = MongoTable(on_drift=OnDrift(type="fail"))
    for document in (twice, {"_id": 5, "n": Int64(2**53 + 1)}, {"_id": 5, "d": DatetimeMS(2**62)}):
        with pytest.raises(LoadError, match=r"1 values of kind \w+ do not fit .*on_drift\.type"):
            warehouse.load([document], mode="cdc")
    assert warehouse.load([{"_id": 5, "t": "a\x00", "x": Decimal128("-0")}], mode="cdc").rescued == 1


def test_misfits_accepted_before_the_policy_failed_on_them_do_not_stand_against_a_new_column(
    warehouse: Warehouse,
) -> None:
    snapshot = {"type": "snapshot"}
    documents: list[dict[str, Any]] = [{"_id": 1, "a": 1}, {"_id": 2, "a": 2}, {"_id": 3, "a": "text"}]
    warehouse.load(documents, mode="full", scope=snapshot)
    warehouse.table = MongoTable(on_drift=OnDrift(type="fail"))
    warehouse.load([documents[0] | {"b": 1}, *documents[1:]], mode="full", scope=snapshot)
    assert warehouse.rows("select _id, b from bronze.shop__orders where b is not null") == [("1", 1)]


def test_new_fields_may_be_rescued_by_policy(warehouse: Warehouse) -> None:
    warehouse.table = MongoTable(on_drift=OnDrift(new="rescue"))
    warehouse.load([{"_id": 1, "a": 1}])
    warehouse.load([{"_id": 2, "a": 1, "b": {"c": [1]}}])
    assert warehouse.column_type("b__c") is None
    assert warehouse.rows("select _rescued from bronze.shop__orders where _id = '2'") == [({"b.c": [1]},)]


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
    assert changes == [("b", "widened"), ("c", "widened"), ("d", "appeared")]
    assert warehouse.value("select schema_changes from ops.batches order by batch_id desc limit 1") == 3


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
    monkeypatch.setattr(ddl, "_LOCK_WAIT_MS", 4_000)
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
    real = Filling.copy

    def copy_and_read(filling: Filling, frames: Any) -> int:
        sent = real(filling, frames)
        with psycopg.connect(warehouse.url, options="-c lock_timeout=2s") as reader:
            query = "select count(*) from bronze.shop__orders__items c join bronze.shop__orders t on t._id = c._root_id"
            seen.append(reader.execute(query).fetchone())
        return sent

    monkeypatch.setattr(Filling, "copy", copy_and_read)
    result = warehouse.load_landed(manifest)
    assert (result.plan, seen) == ("first", [(0,), (0,)])
    for relation in ("shop__orders", "shop__orders__items"):
        query = f"select distinct _batch_id, _extracted_at, _loaded_at > _extracted_at from bronze.{relation}"
        assert warehouse.rows(query) == [(manifest.batch_id, manifest.extracted_at, True)]


def test_a_history_that_is_not_written_for_a_while_keeps_the_columns_of_its_table(warehouse: Warehouse) -> None:
    for history, document in ((True, {"a": 1}), (False, {"a": 0.5, "b": "new"}), (True, {"a": 2.5, "b": "newer"})):
        warehouse.table = MongoTable(history=history)
        warehouse.load([{"_id": 1, **document}])
    assert warehouse.rows("select a, b from bronze.shop__orders__history order by _loaded_at") == [
        (1.0, None),
        (2.5, "newer"),
    ]


def test_a_version_in_the_history_that_a_wider_type_cannot_tell_keeps_its_column(warehouse: Warehouse) -> None:
    warehouse.table = MongoTable(history=True)
    warehouse.load([{"_id": 1, "n": -0.0}])
    warehouse.load([{"_id": 1, "n": 0.5}])
    warehouse.load([{"_id": 2, "n": Decimal128("0.10")}])
    assert warehouse.rows("select n::text, n__decimal::text from bronze.shop__orders__history order by _loaded_at") == [
        ("-0", None),
        ("0.5", None),
        (None, "0.10"),
    ]


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
