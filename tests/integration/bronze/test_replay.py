"""Rejects are replayed once what stood against them is mended."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tasks import database
from tasks.bronze.maintenance import retain
from tasks.bronze.pending import load_pending
from tasks.bronze.rebuild import rebuild_table
from tasks.bronze.rejects import replay
from tasks.ops.rejects import find
from tests.fixtures.bronze import Odd, Warehouse


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
        assert find(connection, [warehouse.key], waiting=True) == []
    assert warehouse.value("select state from ops.checkpoints") == {"tick": 2}
    assert load_pending(*place) == []
    assert warehouse.load([{"_id": 0, "v": 1}]).updated == 1
