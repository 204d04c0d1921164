"""The scheduled proof: quiet when the source only went on, loud when bronze is wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest


@pytest.fixture
def shop(orders_alone: Callable[[str], Any]) -> Any:
    return orders_alone("{mode: cdc}")


def test_verify_by_sample_whole_and_after_a_change_behind_our_back(shop: Any, postgres_url: str) -> None:
    from flows.reset import reset
    from flows.verify import verify

    shop.orders.insert_many([{"_id": number, "total": number * 1.5} for number in range(300)])
    assert reset("shop.orders", models=False, return_state=True).is_completed()
    shop.orders.update_one({"_id": 7}, {"$set": {"total": 99.0}})
    shop.orders.delete_one({"_id": 8})
    state = verify(["shop.orders"], return_state=True)
    assert state.is_completed(), f"the source only went on: {state.message}"
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("select total from bronze.shop__orders where _id = '7'").fetchone() == (99.0,)
        connection.execute("update bronze.shop__orders set total = total + 0.01 where _id = '21'")
    for sample in (1_000, None):
        state = verify(["shop.orders"], sample, return_state=True)
        assert state.is_failed()
        assert "total: source 31.5, bronze 31.51" in str(state.message)
    reset("shop.orders", models=False)
    assert verify(["shop.orders"], 1_000, return_state=True).is_completed()
