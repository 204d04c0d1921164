"""The history has the columns of its table."""

from __future__ import annotations

from bson.decimal128 import Decimal128

from tasks.mongodb.config import MongoTable
from tests.fixtures.bronze import Warehouse


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
