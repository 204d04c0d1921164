"""Retention removes batches that nothing needs any more."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tasks.bronze.maintenance import retain
from tasks.bronze.pending import load_pending
from tasks.bronze.rebuild import rebuild_table
from tests.fixtures.bronze import Warehouse

SNAPSHOT = {"type": "snapshot"}


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
