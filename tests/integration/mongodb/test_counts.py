"""How many documents a collection has, without reading it."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.errors import SourceUnreachable
from tasks.sources import TableRef
from tasks.sources.connector import Count
from tests.fixtures.mongodb import Shop


@pytest.mark.parametrize(
    ("config", "count"),
    [
        ({"mode": "full"}, Count(30, False, True)),
        ({"mode": "cdc"}, Count(30, False, True)),
        ({"mode": "full", "filter": {"channel": {"$ne": "test"}}}, Count(20, True, True)),
        ({"mode": "incremental", "cursor": "n"}, Count(30, False, False)),
        ({"mode": "incremental", "cursor": "n", "deletes": "sweep"}, Count(30, False, True)),
    ],
)
def test_counts_by_mode(shop: Shop, config: dict[str, Any], count: Count) -> None:
    shop.database.orders.insert_many([{"n": n, "channel": "test" if n % 3 == 0 else "web"} for n in range(30)])
    ref = shop.ref(**config)
    missing = TableRef("shop", "nothing", ref.source, ref.table)
    assert ref.connector.count([missing, ref], 5.0) == {"shop.orders": count}


def test_a_server_that_is_away_is_not_waited_for(shop: Shop) -> None:
    shop.uri = "mongodb://127.0.0.1:1/"
    ref = shop.ref(mode="full")
    with pytest.raises(SourceUnreachable):
        ref.connector.count([ref], 0.2)
