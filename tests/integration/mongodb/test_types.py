"""Declared types of a table: what tells the same value is converted and counted, all else is rescued."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest
from bson import Decimal128
from pydantic import SecretStr, ValidationError

from monitoring import log
from tasks.bronze.pending import load_pending
from tasks.bronze.verify import verify_table
from tasks.mongodb.config import MongoTable
from tasks.settings import Settings
from tests.fixtures.mongodb import Shop


def load(shop: Shop, url: str, home: Path, **table: Any) -> list[tuple[Any, ...]]:
    settings = Settings(url=SecretStr(url), home=home, landing=str(home / "landing"))
    ref = shop.ref(**table)
    shop.extract(ref)
    load_pending(ref, settings)
    assert verify_table(ref, settings).equal
    with psycopg.connect(url) as connection:
        return connection.execute("select _id, age, _rescued from bronze.shop__orders order by _id").fetchall()


def test_of_mixed_values_a_declared_type_takes_what_tells_the_same(
    shop: Shop, postgres_url: str, tmp_path: Path
) -> None:
    ages = {"a": 41, "b": "42", "c": 43.0, "d": Decimal128("44"), "e": 45.5, "f": "about 46", "g": None, "h": True}
    # More texts than numbers: the most frequent kind would win, were none declared.
    ages |= {f"x{number}": "old" for number in range(9)}
    shop.database.orders.insert_many([{"_id": name, "age": age} for name, age in ages.items()])
    table = {"types": {"age": "int", "items.n": "int"}, "arrays": {"items": "table"}}
    shop.database.orders.insert_one({"_id": "y", "items": [{"n": "7"}, {"n": "many"}]})
    rows = {name: (age, rescued) for name, age, rescued in load(shop, postgres_url, tmp_path, **table)}
    assert [rows[name][0] for name in "abcd"] == [41, 42, 43, 44]
    assert (rows["e"], rows["f"]) == ((None, {"age": 45.5}), (None, {"age": "about 46"}))
    assert (rows["g"], rows["h"]) == ((None, None), (1, None))
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("select n, _rescued from bronze.shop__orders__items order by _id").fetchall() == [
            (7, None),
            (None, {"n": "many"}),
        ]


def test_conversions_are_told_and_a_later_value_widens_no_declared_column(
    shop: Shop, postgres_url: str, tmp_path: Path
) -> None:
    shop.database.orders.insert_many([{"_id": "a", "age": 1}, {"_id": "b", "age": "2"}])
    ref = shop.ref(types={"age": "int"})
    told = shop.extract(ref).warnings
    assert told == ("shop.orders: values of another type that were read exactly as the declared one: age 1",)
    load(shop, postgres_url, tmp_path, types={"age": "int"})
    shop.database.orders.insert_one({"_id": "c", "age": 2.5})
    assert load(shop, postgres_url, tmp_path, types={"age": "int"})[-1] == ("c", None, {"age": 2.5})


def test_the_first_load_tells_what_did_not_fit_and_not_that_columns_appeared(
    shop: Shop, postgres_url: str, tmp_path: Path
) -> None:
    shop.database.orders.insert_many([{"_id": n, "age": "x" if n % 10 == 0 else n} for n in range(40)])
    rows = load(shop, postgres_url, tmp_path)
    assert sum(rescued is not None for _, _, rescued in rows) == 4
    with psycopg.connect(postgres_url) as connection:
        batches = [row[0] for row in connection.execute("select batch_id from ops.batches").fetchall()]
        changes = log.schema_changes(connection, batches)
        rescued = log.rescued(connection, batches, 3)
    assert [(change["field"], change["change"]) for change in changes] == [("age", "type_conflict")]
    assert rescued == ["shop.orders, age: 4 string value(s) in a column of bigint"]


def test_the_key_has_no_declared_type() -> None:
    with pytest.raises(ValidationError, match="_id is the row's key"):
        MongoTable.model_validate({"types": {"_id": "int"}})
