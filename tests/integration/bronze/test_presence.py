"""Fields that vanish, come back or were renamed."""

from __future__ import annotations

from tests.integration.bronze.conftest import Warehouse


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
