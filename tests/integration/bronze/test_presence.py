"""Fields that vanish, come back or were renamed."""

from __future__ import annotations

from decimal import Decimal

from bson.decimal128 import Decimal128

from tests.fixtures.bronze import Warehouse


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


def test_a_rename_of_numbers_is_suggested_whichever_column_is_the_wider_and_read_exactly(warehouse: Warehouse) -> None:
    snapshot = {"mode": "full", "scope": {"type": "snapshot"}}
    # One half makes the column a double; the documents that are left have whole numbers.
    warehouse.load([{"_id": n, 'to"tal': 0.5 if n == 0 else n, "other": 7 * n} for n in range(20)], **snapshot)
    after = [{"_id": n, "amount": n, "rest": Decimal128("7.5") if n == 1 else 7 * n} for n in range(1, 20)]
    warehouse.load(after, **snapshot)
    found = "select field, evidence->>'renamed_from', evidence->>'rows_equal' from ops.schema_changes"
    expected = [("amount", 'to"tal', "19"), ("rest", "other", "18")]
    assert warehouse.rows(f"{found} where change = 'renamed' order by 1") == expected
    line = warehouse.value(
        "select evidence->>'dbt' from ops.schema_changes where field = 'amount' and evidence ? 'dbt'"
    )
    assert line == 'coalesce("amount", "to""tal"::text::numeric) as "amount"'
    assert warehouse.value(f"select sum(amount) from (select {line} from bronze.shop__orders) t") == Decimal("190.5")


def test_a_rare_field_that_is_absent_by_chance_is_not_called_vanished(warehouse: Warehouse) -> None:
    warehouse.load([{"_id": n, "a": 1} | ({"rare": 1} if n == 0 else {}) for n in range(100)])
    warehouse.load([{"_id": n, "a": 2} for n in range(100)])
    assert ("rare", "vanished") not in warehouse.changes()
    warehouse.load([{"_id": n, "b": 2} for n in range(100)])
    assert ("a", "vanished") in warehouse.changes()


def test_a_young_field_is_as_frequent_as_since_it_is_there(warehouse: Warehouse) -> None:
    for start in range(0, 400, 100):
        warehouse.load([{"_id": n, "a": 1} for n in range(start, start + 100)])
    # One row shows nothing of how rare `once` is; `each` is in all rows since it is there.
    warehouse.load([{"_id": 400, "a": 1, "once": 1}])
    warehouse.load([{"_id": n, "a": 1, "each": 1} for n in range(401, 431)])
    warehouse.load([{"_id": n, "a": 1} for n in range(431, 461)])
    assert [field for field, change in warehouse.changes() if change == "vanished"] == ["each"]


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
