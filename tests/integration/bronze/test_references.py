"""Rules that refer to another table warn of the rows that a batch brings, and never stop it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import bson
import psycopg
import pytest
from bson.binary import Binary
from bson.decimal128 import Decimal128

from tasks.bronze.outcome import LoadResult
from tasks.bronze.pending import load_pending
from tasks.bronze.reset import begin_reset
from tasks.mongodb.config import MongoTable
from tasks.settings import Settings
from tasks.sources import TableRef
from tests.fixtures.bronze import Warehouse, with_table

Another = Callable[..., Warehouse]
OID = bson.ObjectId("65f1a0b2c3d4e5f6a7b8c9d0")
UUID4 = Binary.from_uuid(UUID("0c7f6f0e-7f0a-4f58-9a33-0f1a0f2f7c11"))


def refer(warehouse: Warehouse, *references: Any, field: str = "customer", **table: Any) -> None:
    rules = [{"field": field, "reference": one, "name": f"rule {n}"} for n, one in enumerate(references, 1)]
    warehouse.table = MongoTable.model_validate({"rules": rules, **table})


def broken(result: LoadResult) -> dict[str, tuple[int, str]]:
    """Return by rule how many documents the warnings count, and the keys that they name."""
    found = {}
    for warning in result.warnings:
        count, _, rest = warning.partition(" document(s) break the rule '")
        title, _, keys = rest.partition("': ")
        found[title] = (int(count), keys.partition(" is what they name: ")[2])
    return found


@pytest.mark.parametrize("staged", [False, True])
def test_each_kind_of_key_is_found_and_no_other_is_taken_for_it(
    warehouse: Warehouse, another: Another, staged: bool
) -> None:
    there = [1, 2**53 + 1, "text", "17", "true", '{"a": "b\\c"}', OID, "b" * 24, UUID4, True, "zwei\nZeilen", "1e5"]
    alike = [1.0, Decimal128("1.00"), None, 1.5, datetime(2026, 1, 1, tzinfo=UTC), '[\n"x"]', "k" * 3000]
    gone = [2, "1", "Text", 17, "t", str(OID), bson.ObjectId("b" * 24), False, "false", "NaN", 2**53, Decimal128("3")]
    another("shop", "customers").load([{"_id": key} for key in there])
    if staged:
        warehouse.load([{"_id": "before"}])
    refer(warehouse, "shop.customers")
    # A field for each kind: a column tells all of its values then.
    documents = [{"_id": n, f"of_{type(v).__name__}": v} for n, v in enumerate([*there, *alike, *gone])]
    fields = sorted({name for document in documents for name in document if name != "_id"})
    rules = [{"field": name, "reference": "shop.customers"} for name in fields]
    warehouse.table = MongoTable.model_validate({"rules": rules})
    result = warehouse.load(documents)
    assert result.plan == ("staged" if staged else "first")
    told = broken(result)
    assert sum(count for count, _ in told.values()) == len(gone) == result.warned
    assert {key for _, keys in told.values() for key in keys.removesuffix(", ...").split(", ")} <= {
        str(n) for n in range(len(there) + len(alike), len(documents))
    }


@pytest.mark.parametrize(
    ("codes", "coupons", "lost"),
    [
        ([1, 5], [1, 1.0, Decimal128("5.0"), None, 2, "1"], 2),
        ([0.1, 2**60], [Decimal128("0.1"), 2**60, 2**60 + 1, 0.25], 2),
        ([Decimal128("0.10"), 1], [Decimal128("0.1"), 1, 1.5], 1),
        (["a", "b"], ["a", "A", OID], 2),
        ([datetime(2026, 1, 1)], [datetime(2026, 1, 1), datetime(2026, 1, 2)], 1),
        ([{"a": 1}, [1, 2]], [[1, 2], [2, 1]], 1),
        ([True], [True, False, "true"], 2),
    ],
)
def test_a_field_is_compared_by_value_whatever_the_type_of_its_columns(
    warehouse: Warehouse, another: Another, codes: Sequence[Any], coupons: Sequence[Any], lost: int
) -> None:
    kinds = sorted({type(value).__name__ for value in coupons})
    rules = [{"field": f"of_{kind}", "reference": {"table": "shop.coupons", "field": "code"}} for kind in kinds]
    another("shop", "coupons").load([{"_id": n, "code": code} for n, code in enumerate(codes)])
    warehouse.table = MongoTable.model_validate({"rules": rules})
    result = warehouse.load([{"_id": n, f"of_{type(value).__name__}": value} for n, value in enumerate(coupons)])
    assert result.warned == sum(count for count, _ in broken(result).values()) == lost, result.warnings


def test_only_rows_that_the_batch_wrote_are_told_and_five_of_them_named(warehouse: Warehouse, another: Another) -> None:
    customers = another("shop", "customers")
    customers.load([{"_id": 1}, {"_id": 2}])
    refer(warehouse, "shop.customers", {"table": "shop.customers", "field": "_id"})
    lost = [{"_id": n, "customer": 9} for n in range(100, 107)]
    result = warehouse.load([{"_id": 1, "customer": 1}, *lost])
    named = "100, 101, 102, 103, 104, ..."
    assert broken(result) == {"rule 1": (7, named), "rule 2": (7, named)} and result.warned == 7
    assert warehouse.value("select count(*) from bronze.shop__orders") == 8
    # The same versions again, one other, and one that is deleted; then a customer who is gone.
    again = warehouse.load([*lost[:3], {"_id": 1, "customer": 7}], deletes=[106], mode="cdc")
    assert broken(again) == {"rule 1": (1, "1"), "rule 2": (1, "1")} and again.warned == 1
    customers.load(deletes=[2], mode="cdc")
    assert broken(warehouse.load([{"_id": 2, "customer": 2}]))["rule 1"] == (1, "2")


def test_an_element_of_an_array_refers_and_is_referred_to(warehouse: Warehouse, another: Another) -> None:
    products = another("shop", "products")
    products.table = MongoTable.model_validate({"arrays": {"variants": "table"}})
    products.load([{"_id": 1, "variants": [{"sku": "a"}, {"sku": "b"}]}])
    reference = {"table": "shop.products", "field": "variants.sku"}
    refer(warehouse, reference, field="items.sku", arrays={"items": "table"})
    for number in (1, 2):
        rows = [{"_id": f"{number}-{sku}", "items": [{"sku": "a"}, {"sku": sku}, {"sku": sku}]} for sku in "abc"]
        assert broken(warehouse.load(rows)) == {"rule 1": (1, f"{number}-c")}


def test_a_table_refers_to_itself_and_to_rows_of_the_same_batch(warehouse: Warehouse) -> None:
    refer(warehouse, "shop.orders", field="parent")
    assert broken(warehouse.load([{"_id": 1, "parent": 2}, {"_id": 2}, {"_id": 3, "parent": 4}])) == {
        "rule 1": (1, "3")
    }
    assert broken(warehouse.load([{"_id": 4, "parent": 1}, {"_id": 5, "parent": 6}])) == {"rule 1": (1, "5")}


def test_a_key_refers_to_a_key(warehouse: Warehouse, another: Another) -> None:
    another("shop", "users").load([{"_id": OID}, {"_id": "17"}])
    refer(warehouse, "shop.users", field="_id")
    assert broken(warehouse.load([{"_id": OID}, {"_id": "17"}, {"_id": 17}])) == {"rule 1": (1, "17")}


def test_what_is_not_there_is_told_once_and_stops_nothing(warehouse: Warehouse, another: Another) -> None:
    refer(warehouse, "shop.customers", {"table": "shop.customers", "field": "email"})
    first = warehouse.load([{"_id": 1, "customer": 1}, {"_id": 2, "customer": 2}])
    assert first.warnings == ["shop.customers is not in bronze: not tried: 'rule 1', 'rule 2'"]
    another("shop", "customers").load([{"_id": 3, "mail": "x"}])
    second = warehouse.load([{"_id": 3, "customer": 3}])
    assert second.warnings == ["shop.customers has no field email: not tried: 'rule 2'"]
    assert (second.inserted, second.warned) == (1, 0)


def test_a_value_that_was_rescued_is_not_taken_for_another(warehouse: Warehouse, another: Another) -> None:
    another("shop", "customers").load([{"_id": OID}])
    refer(warehouse, "shop.customers")
    warehouse.load([{"_id": 1, "customer": OID}])
    # The text is readable in the column of object ids, where it would be the key of a customer.
    assert broken(warehouse.load([{"_id": 2, "customer": str(OID)}])) == {}


def test_a_table_that_is_locked_is_not_waited_for(warehouse: Warehouse, another: Another) -> None:
    another("shop", "customers").load([{"_id": 1}])
    refer(warehouse, "shop.customers")
    with psycopg.connect(warehouse.url) as other:
        other.execute("lock table bronze.shop__customers in access exclusive mode")
        result = warehouse.load([{"_id": 1, "customer": 9}])
    assert result.warnings == ["references were not tried ('rule 1'): canceling statement due to lock timeout"]
    assert warehouse.value("select count(*) from bronze.shop__orders") == 1
    assert warehouse.value("select count(*) from ops.batches where table_name = 'orders'") == 1


def test_names_of_fields_are_quoted(warehouse: Warehouse, another: Another) -> None:
    odd = """it's "odd" {0} %s"""
    another("shop", "customers").load([{"_id": 1, odd: 1}])
    refer(warehouse, {"table": "shop.customers", "field": odd}, "shop.customers", field=odd)
    assert broken(warehouse.load([{"_id": 1, odd: 1}, {"_id": 2, odd: 2}])) == {"rule 1": (1, "2"), "rule 2": (1, "2")}
    assert warehouse.value("select count(*) from bronze.shop__orders") == 2


def test_a_reset_looks_into_the_rows_that_take_the_place_of_the_old(
    warehouse: Warehouse, place: tuple[TableRef, Settings]
) -> None:
    refer(warehouse, "shop.orders", field="parent")
    ref, settings = with_table(place, warehouse.table), place[1]
    warehouse.load([{"_id": 1}, {"_id": 9}])
    begin_reset(ref, settings, None, asked_by="a person", why="to read again")
    warehouse.land([{"_id": 1, "parent": 9}, {"_id": 2, "parent": 1}], previous={})
    [result] = load_pending(ref, settings)
    assert warehouse.value("select count(*) from bronze.shop__orders") == 2
    assert broken(result) == {"rule 1": (1, "1")}
