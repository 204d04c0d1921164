"""Columns that widen, or get another beside them, so that each number is read exactly."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import psycopg
import pytest
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.bronze.plan import Column, reading
from tasks.bronze.postgres import ddl
from tasks.bronze.rebuild import rebuild_table
from tasks.mongodb.config import MongoSource, MongoTable
from tasks.ops import columns
from tasks.settings import Settings
from tasks.sources import OnDrift, TableRef
from tests.fixtures.bronze import Warehouse


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
    published = "select path, column_name, data_type, position from ops.bronze_columns where relation = 'shop__orders'"
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
        return columns.of_relation(connection, warehouse.key, "")


@pytest.mark.slow
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(BATCHES)
def test_numbers_of_every_kind_are_read_exactly_whatever_could_be_widened_when(
    module_postgres_url: str, landing: Any, batches: list[tuple[bool, dict[int, Any]]]
) -> None:
    warehouse = Warehouse(module_postgres_url, landing, "numbers", f"t{next(_tables)}")
    relation = f"bronze.numbers__{warehouse.key.table_name}"
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
        {"kind": "mongodb", "uri": "mongodb://nowhere", "database": "shop", "tables": {warehouse.key.table_name: {}}}
    )
    known = Settings.model_validate({"url": warehouse.url, "landing": landing.root})
    rebuild_table(TableRef(*warehouse.key, source, warehouse.table), known)
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
