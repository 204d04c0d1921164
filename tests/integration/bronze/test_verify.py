"""Values of every kind through bronze and back, and what verify says when the two sides differ."""

from __future__ import annotations

import base64
import math
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import bson
import polars as pl
import pytest
from bson import Binary, Code, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks import database
from tasks.bronze.postgres import ddl
from tasks.bronze.verify import Verified, verify, verify_table
from tasks.errors import LoadError
from tasks.extract import ExtractMetrics, ExtractResult
from tasks.landing import Manifest
from tasks.landing.decoder import make_decoder
from tasks.mongodb.config import MongoSource, MongoTable
from tasks.settings import Settings
from tasks.sources import TableRef
from tests.fixtures.bronze import Warehouse


def frames_of(warehouse: Warehouse, documents: list[dict[str, Any]]) -> Iterator[pl.DataFrame]:
    for start in range(0, max(len(documents), 1), 700):
        decoder = make_decoder(seed=warehouse.table.fingerprint())
        decoder.push(b"".join(bson.encode(document) for document in documents[start : start + 700]))
        yield decoder.flush().tables[""]


def compare(warehouse: Warehouse, documents: list[dict[str, Any]], **options: Any) -> Verified:
    with database.connect(warehouse.url) as connection:
        return verify(connection, *warehouse.key, lambda: frames_of(warehouse, documents), **options)


_tables = iter(range(10**9))
ODD: list[Any] = [
    "", "a\x00b", "\x00", "\\u0000", "\\\\u0000\x00", "\\.", "\\N", 'q"uo,te\nline\r\n', "ünï💥", " lead", "NULL",
    "null",
    0, -1, 2**31, Int64(2**63 - 1), Int64(-(2**63)), 0.0, -0.0, 0.1, 1e308, 5e-324, math.inf, -math.inf, math.nan,
    2.0**53, Decimal128("0"), Decimal128("-0"), Decimal128("1.20"),
    Decimal128("9.999999999999999999999999999999999E+6144"),
    Decimal128("1E-6176"), Decimal128("NaN"), Decimal128("-Infinity"), True, False, None,
    DatetimeMS(0), DatetimeMS(-(2**63)), DatetimeMS(2**63 - 1), DatetimeMS(-62135596800001),
    DatetimeMS(253402300800000),
    DatetimeMS(-210866803200000), DatetimeMS(-210866803200001), DatetimeMS(9223371331200000), DatetimeMS(-1),
    datetime(2026, 2, 28, 23, 59, 59, 999000, tzinfo=UTC), ObjectId("64b000000000000000000001"),
    Binary(b""), Binary(b"\x00\xff\\x"), Binary(b"abc", 5), Binary.from_uuid(uuid.UUID(int=7)),
    [], [1, "x", None, {"a": [math.nan, "\x00"]}], {}, {"a": {"b": 1}}, Regex("a.*", "i"), Code("f()"), Timestamp(1, 2),
    MinKey(), MaxKey(), [2**62, 1.0, -0.0, 1e300, "x\x00\\u0000"], ["\ud7ff", "\uffff"],
]  # fmt: skip


@pytest.mark.usefixtures("encoder")
def test_keys_repeated_within_json_are_kept(warehouse: Warehouse) -> None:
    twice = bson.encode({"_id": 1, "a": [{"k": 1, "j": "later"}]}).replace(b"\x02j\x00", b"\x02k\x00")
    warehouse.load([twice, {"_id": 2, "a": [{"k": 1}, {"k": 2}]}])
    [[kept], [plain]] = warehouse.rows("select coalesce(_rescued->'a', a) from bronze.shop__orders order by _id")
    assert base64.b64decode(kept["$json"]["base64"]) == b'[{"k":1,"k":"later"}]'
    assert plain == [{"k": 1}, {"k": 2}]


@pytest.mark.usefixtures("encoder")
def test_every_odd_value_comes_through_in_every_column(warehouse: Warehouse) -> None:
    documents = [{"_id": number, "any": value, f"own{number}": value} for number, value in enumerate(ODD)]
    warehouse.load(documents)
    assert warehouse.value("select count(*) from ops.rejects") == 0
    found = compare(warehouse, documents)
    assert found.differences == []
    assert (found.source_rows, found.bronze_rows) == (len(ODD), len(ODD))


# One value of each kind of column; every other value is then loaded into it.
ESTABLISHED = ("ünï💥", 0, 0.1, Decimal128("1.20"), True, DatetimeMS(0), ObjectId("64b000000000000000000001"),
               Binary(b""), Binary.from_uuid(uuid.UUID(int=7)), [])  # fmt: skip


@pytest.mark.usefixtures("encoder")
@pytest.mark.parametrize("most", [0, 1 << 30], ids=["beside", "in-place"])
@pytest.mark.parametrize("kind", range(len(ESTABLISHED)))
def test_established_columns_take_or_rescue_every_odd_value(
    kind: int, most: int, module_warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ddl, "WIDEN_MOST_BYTES", most)
    module_warehouse.key = ("odd", f"t{next(_tables)}")
    module_warehouse.load([{"_id": -1, "x": ESTABLISHED[kind]}])
    documents = [{"_id": number, "x": value} for number, value in enumerate(ODD)]
    module_warehouse.load([*documents, {"_id": -1, "x": ESTABLISHED[kind]}])
    assert compare(module_warehouse, [*documents, {"_id": -1, "x": ESTABLISHED[kind]}]).differences == []


@pytest.fixture
def module_warehouse(module_postgres_url: str, landing: Any) -> Warehouse:
    return Warehouse(module_postgres_url, landing)


def test_later_values_of_a_repeated_key_are_kept_beside_the_first(warehouse: Warehouse) -> None:
    def document(*pairs: tuple[str, Any]) -> bytes:
        body = b"".join(bson.encode({key: value})[4:-1] for key, value in pairs)
        return (len(body) + 5).to_bytes(4, "little") + body + b"\x00"

    raws = [
        document(("_id", 1), ("a", 1), ("a", "later")),
        document(("_id", 2), ("a", "first"), ("a", 2), ("a", 3)),
        document(("_id", 3), ("b", "x\x00y"), ("b", "z"), ("a", 1)),
    ]
    warehouse.load([*raws, *({"_id": n, "a": n} for n in range(4, 9))])
    assert warehouse.rows("select a, b, _rescued from bronze.shop__orders where _id < '4' order by _id") == [
        (1, None, {"a|duplicates": ["later"]}),
        (None, None, {"a": "first", "a|duplicates": [2, 3]}),
        (1, "xy", {"b": {"$text": {"base64": "eAB5"}}, "b|duplicates": ["z"]}),
    ]


values = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1).map(Int64), st.floats(), st.text(max_size=8),
        st.integers(-(2**63), 2**63 - 1).map(DatetimeMS), st.binary(max_size=5),
        st.binary(min_size=12, max_size=12).map(ObjectId),
        st.decimals(allow_nan=False, allow_infinity=False, places=3,
                    min_value=-(10**20), max_value=10**20).map(Decimal128),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text("ab._\\|é", max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)  # fmt: skip
documents_of_any_shape = st.lists(
    st.dictionaries(st.text("abAB._\\|é$", max_size=3), values, max_size=4), min_size=1, max_size=12
)


@pytest.mark.slow
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(documents_of_any_shape, st.booleans()), min_size=1, max_size=3))
def test_documents_of_any_shape_come_through_batch_after_batch(
    module_warehouse: Warehouse, batches: list[tuple[list[dict[str, Any]], bool]]
) -> None:
    module_warehouse.key = ("any", f"t{next(_tables)}")
    source: dict[int, dict[str, Any]] = {}
    for batch, rewritable in batches:
        documents = [{**document, "_id": number} for number, document in enumerate(batch)]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ddl, "WIDEN_MOST_BYTES", 1 << 30 if rewritable else 0)
            module_warehouse.load(documents)
        source |= {document["_id"]: document for document in documents}
    found = compare(module_warehouse, list(source.values()))
    assert found.differences == [] and found.equal


def test_differences_are_narrowed_down_and_explained(warehouse: Warehouse) -> None:
    documents = [{"_id": f"k{number:05d}", "total": number} for number in range(3_000)]
    warehouse.load(documents)
    assert compare(warehouse, documents).equal
    source = [d for d in documents if d["_id"] != "k00007"]
    source[100] = {**source[100], "total": -1}
    source.append({"_id": "k01000x", "total": 1})
    warehouse.execute("update bronze.shop__orders set _deleted_at = now() where _id = 'k02000'")
    warehouse.execute("update bronze.shop__orders set total = 5 where _id = 'k02999'")
    found = compare(warehouse, source)
    why = {difference.id: difference.why for difference in found.differences}
    assert set(why) == {"k00007", "k00101", "k01000x", "k02000", "k02999"}
    assert "not at the source" in why["k00007"] and "another version" in why["k00101"]
    assert why["k01000x"] == "not in bronze" and "marked deleted" in why["k02000"]
    assert why["k02999"] == "values differ: total: source 2999, bronze 5"
    assert found.ranges > 10 and 1 <= len(found.ranges_differing) <= 4
    assert (found.source_rows, found.bronze_rows, found.differing) == (3_000, 2_999, 5)


@pytest.mark.parametrize("deep", [True, False])
@pytest.mark.parametrize("columns", ["_id", "_hash"])
def test_rows_that_passed_their_keys_or_hashes_on_are_other_versions(
    warehouse: Warehouse, columns: str, deep: bool
) -> None:
    documents = [{"_id": f"k{number}", "total": number} for number in range(9)]
    warehouse.load(documents)
    warehouse.execute("alter table bronze.shop__orders drop constraint shop__orders_pkey")
    warehouse.execute(
        f"update bronze.shop__orders t set {columns} = s.{columns} from bronze.shop__orders s"
        " where t.total between 3 and 5 and s.total = case t.total when 5 then 3 else t.total + 1 end"
    )
    found = compare(warehouse, documents, deep=deep)
    assert [one.id for one in found.differences] == ["k3", "k4", "k5"]
    assert all("another version" in one.why for one in found.differences)
    assert (found.differing, found.equal) == (3, False)


def test_a_time_that_a_person_moved_by_less_than_its_source_can_tell_is_a_difference(warehouse: Warehouse) -> None:
    moment = datetime(1969, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC)
    documents = [{"_id": number, "at": moment, "in": {"at": moment}} for number in range(3)]
    warehouse.load(documents)
    assert compare(warehouse, documents).equal
    warehouse.execute("update bronze.shop__orders set at = at + interval '250 microseconds' where _id = '1'")
    warehouse.execute("update bronze.shop__orders set in__at = in__at - interval '1 microsecond' where _id = '2'")
    assert {one.id: one.why for one in compare(warehouse, documents).differences} == {
        "1": "values differ: at: source t-1000, bronze t-750",
        "2": "values differ: in.at: source t-1000, bronze t-1001",
    }


def test_what_a_person_did_to_bronze_is_a_difference_or_an_error_that_says_what_to_do(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks import extract
    from tasks.bronze.rebuild import rebuild_table

    documents = [{"_id": n, "at": datetime(2026, 1, 1, tzinfo=UTC), "v": n} for n in range(3)]
    warehouse.load([*documents, {"_id": 3, "v": 3}], mode="full", scope={"type": "snapshot"})
    warehouse.load(documents, mode="full", scope={"type": "snapshot"})
    warehouse.execute("update bronze.shop__orders set at = 'infinity' where _id = '1'")
    warehouse.execute("update bronze.shop__orders set at = '-infinity' where _id = '2'")
    assert [found.id for found in compare(warehouse, documents).differences] == ["1", "2"]
    warehouse.execute("alter table bronze.shop__orders drop column v")
    ref = table_ref(warehouse)
    monkeypatch.setattr(
        extract,
        "extract_table",
        lambda _, context: extracted(Warehouse(warehouse.url, context.landing).land(documents)),
    )
    settings = Settings.model_validate({"url": warehouse.url, "landing": warehouse.landing.root})
    with pytest.raises(LoadError, match=r'"v" does not exist.*`warehouse rebuild`'):
        verify_table(ref, settings)
    with pytest.raises(LoadError, match=r'"v".*does not exist.*`warehouse rebuild`'):
        warehouse.load([{"_id": 1, "v": 5}])
    rebuild_table(ref, settings)
    assert verify_table(ref, settings).equal
    assert warehouse.rows("select v, _deleted_at is null from bronze.shop__orders where _id = '3'") == [(None, False)]


def extracted(manifest: Manifest) -> ExtractResult:
    return ExtractResult(manifest, ExtractMetrics.of([manifest]))


def table_ref(warehouse: Warehouse) -> TableRef:
    source = MongoSource.model_validate(
        {"kind": "mongodb", "uri": "mongodb://nowhere", "database": "shop", "tables": {"orders": {}}}
    )
    return TableRef("shop", "orders", source, warehouse.table)


def compared_with_items(warehouse: Warehouse, documents: list[dict[str, Any]]) -> Verified:
    def frames(path: str) -> Iterator[pl.DataFrame]:
        decoder = make_decoder(children=["items"], seed=warehouse.table.fingerprint())
        decoder.push(b"".join(bson.encode(document) for document in documents))
        yield decoder.flush().tables[path]

    with database.connect(warehouse.url) as connection:
        return verify(connection, *warehouse.key, lambda: frames(""), {"items": lambda: frames("items")})


def test_child_tables_are_compared_with_their_arrays(warehouse: Warehouse) -> None:
    warehouse.table = MongoTable(arrays={"items": "table"})
    documents = [{"_id": n, "items": [{"sku": "a\x00", "n": n}] * (n % 3)} for n in range(40)]
    warehouse.load(documents)

    def compared() -> Verified:
        return compared_with_items(warehouse, documents)

    assert compared().differences == []
    warehouse.execute("update bronze.shop__orders__items set n = 0 where _id = '5:1'")
    warehouse.execute("delete from bronze.shop__orders__items where _id = '8:0'")
    warehouse.execute("update bronze.shop__orders__items set _root_id = '9', _position = 7 where _id = '11:0'")
    assert {found.id: found.why for found in compared().differences} == {
        "5:1": "element of items: values differ: n: source 5, bronze 0",
        "8:0": "element of items: not in bronze",
        "11:0": "element of items: _root_id, _parent_id, _position: ['11', '11', 0], not ['9', '11', 7]",
    }
    # As many rows on both sides, one of them of no element; and documents that differ hide no other's elements.
    warehouse.execute("update bronze.shop__orders__items set _id = '8:5' where _id = '8:1'")
    warehouse.execute("update bronze.shop__orders set _hash = null where _id = '5'")
    warehouse.execute("delete from bronze.shop__orders where _id = '14'")
    found = {found.id: found.why.split(";")[0] for found in compared().differences}
    assert found == {
        "5": found["5"],
        "8:0": "element of items: not in bronze",
        "8:1": "element of items: not in bronze",
        "8:5": "element of items: not at the source",
        "11:0": "element of items: _root_id, _parent_id, _position: ['11', '11', 0], not ['9', '11', 7]",
        "14": "not in bronze",
    }
    assert "another version" in found["5"]


def test_an_id_that_an_element_has_itself_is_a_value_like_any_other(warehouse: Warehouse) -> None:
    warehouse.table = MongoTable(arrays={"items": "table"})
    items = [{"_id": 1, "a": "x"}, {"_id": 2, "a": "x\x00"}, {"_id": "three", "a": "y"}]
    documents = [{"_id": "k", "items": items}, {"_id": "long" * 1_000, "items": items}]
    warehouse.load(documents)
    assert compared_with_items(warehouse, documents).differences == []
    rescued = (
        "select _position, _rescued from bronze.shop__orders__items where _root_id like %s and _rescued is not null"
    )
    for root in ("k", "long%"):
        assert warehouse.rows(f"{rescued} order by 1", root) == [
            (1, {"a": {"$text": {"base64": "eAA="}}}),
            (2, {"_id": "three"}),
        ]
    warehouse.execute("""update bronze.shop__orders__items set _rescued = '{"_id": "four"}' where _id = 'k:2'""")
    assert [one.why for one in compared_with_items(warehouse, documents).differences] == [
        'element of items: values differ: _id: source "three", bronze "four"'
    ]


def test_elements_without_a_child_table_are_missing(warehouse: Warehouse) -> None:
    warehouse.table = MongoTable(arrays={"items": "table"})
    documents: list[dict[str, Any]] = [{"_id": 1, "items": []}, {"_id": 2, "items": [7]}]
    warehouse.load(documents)
    warehouse.execute("drop table bronze.shop__orders__items")
    assert [(one.id, one.why) for one in compared_with_items(warehouse, documents).differences] == [
        ("2:0", "element of items: not in bronze")
    ]


def test_documents_that_cannot_be_read_are_told_apart_from_those_that_are_gone(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks import extract

    def odd(key: Any) -> bytes:
        return bson.encode({"_id": key, "odd": True}).replace(b"\x08odd\x00", b"\x7eodd\x00")

    warehouse.load([{"_id": key} for key in ("fine", "gone", "odd")])
    ref = table_ref(warehouse)
    documents = [{"_id": "fine"}, odd("odd"), odd("never loaded")]
    monkeypatch.setattr(
        extract,
        "extract_table",
        lambda _, context: extracted(Warehouse(warehouse.url, context.landing).land(documents)),
    )
    found = verify_table(ref, Settings.model_validate({"url": warehouse.url}))
    assert (found.source_rows, found.bronze_rows, found.unreadable, found.differing) == (1, 3, 2, 2)
    assert [(one.id, one.why.split(";")[0]) for one in found.differences] == [
        ("gone", "not at the source (any more)"),
        ("odd", "cannot be read at the source now"),
    ]


def test_keys_beyond_an_index_entry_and_with_nul_stay_distinct(warehouse: Warehouse) -> None:
    documents: list[dict[str, Any]] = [
        {"_id": "x" * 5_000 + tail, "n": n} for n, tail in enumerate(("", "a", "\x00"))
    ] + [{"_id": "a\x00b", "n": 8}, {"_id": "ab", "n": 9}]
    assert warehouse.load(documents).inserted == 5
    assert compare(warehouse, documents).differences == []
    assert warehouse.load(documents, mode="full", scope={"type": "snapshot"}).unchanged == 5
    assert warehouse.load([], ids=[d["_id"] for d in documents]).deleted == 0
    assert warehouse.value("select _rescued->>'_id' from bronze.shop__orders where n = 1") == "x" * 5_000 + "a"


def test_dates_are_what_postgres_itself_says(warehouse: Warehouse) -> None:
    moments = [datetime(1, 1, 1, tzinfo=UTC), datetime(1582, 10, 15, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)]
    before = datetime(1, 1, 1, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC) - timedelta(days=1)
    far = DatetimeMS(int(before.total_seconds() * 1000))
    warehouse.load([{"_id": n, "at": moment} for n, moment in enumerate([*moments, far, DatetimeMS(253402300800000)])])
    assert [row[0] for row in warehouse.rows("select at::text from bronze.shop__orders order by _id")] == [
        "0001-01-01 00:00:00+00",
        "1582-10-15 00:00:00+00",
        "9999-12-31 00:00:00+00",
        "0001-12-31 00:00:00+00 BC",
        "10000-01-01 00:00:00+00",
    ]
