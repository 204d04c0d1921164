"""A reset through the flows: killed between its steps, a plain run or the same reset ends it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest


@pytest.fixture
def shop(orders_alone: Callable[[str], Any]) -> Any:
    return orders_alone("{mode: incremental, cursor: at}")


@pytest.mark.slow
def test_a_reset_that_is_killed_between_its_steps_ends_right(
    shop: Any, postgres_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from flows.extract import extract
    from flows.pipeline import pipeline
    from flows.reset import reset
    from flows.runs import print_reset_plan
    from flows.table_tasks import read_sources
    from tasks.bronze.reset import begin_reset, is_complete, plan_reset
    from tasks.checkpoint_block import TableCheckpoint, block_name
    from tasks.settings import get_settings

    def run(flow: Any, *arguments: Any, **options: Any) -> None:
        state = flow(*arguments, **options, return_state=True)
        assert state.is_completed(), state.message

    def rows(query: str = "select _id, v from bronze.shop__orders order by _id") -> list[tuple[Any, ...]]:
        with psycopg.connect(postgres_url) as connection:
            return connection.execute(query).fetchall()

    settings = get_settings()
    ref = read_sources(settings).table("shop.orders")
    shop.orders.insert_many([{"_id": n, "at": n, "v": n} for n in range(3)])
    run(pipeline, ["shop.orders"], models=False)
    # The cursor sees neither.
    shop.orders.delete_one({"_id": 0})
    shop.orders.update_one({"_id": 1}, {"$set": {"v": 10}})
    assert plan_reset(ref, settings).estimate == 2
    print_reset_plan(settings, ref, None)
    told = capsys.readouterr().out
    assert "reads about 2 rows at most, from the beginning" in told and "the 3 live rows at once" in told
    assert rows("select count(*) from ops.resets") == [(0,)]

    begin_reset(ref, settings)
    assert rows() == [("0", 0), ("1", 1), ("2", 2)]
    run(pipeline, ["shop.orders"], models=False)
    assert rows() == [("1", 10), ("2", 2)] and is_complete(ref, settings)

    shop.orders.update_one({"_id": 1}, {"$set": {"v": 11}})
    # A wish of before, which nobody carried out.
    block = TableCheckpoint.load(block_name("shop", "orders"))
    block.rewind_to = {}
    block.save(block_name("shop", "orders"), overwrite=True)
    assert reset("shop.nowhere", models=False, return_state=True).is_failed()
    run(reset, "shop.orders", models=False)
    assert rows() == [("1", 11), ("2", 2)] and is_complete(ref, settings)

    shop.orders.update_one({"_id": 1}, {"$set": {"v": 12}})
    begin_reset(ref, settings)
    run(extract, ["shop.orders"])
    assert rows() == [("1", 11), ("2", 2)]
    run(reset, "shop.orders", models=False, by="a person", why="v was changed by hand")
    assert rows() == [("1", 12), ("2", 2)] and is_complete(ref, settings)
    assert rows("select count(*), count(batch_id) from ops.resets") == [(3, 3)]
    # From there on as before.
    shop.orders.insert_one({"_id": 3, "at": 3, "v": 3})
    run(pipeline, ["shop.orders"], models=False)
    assert rows() == [("1", 12), ("2", 2), ("3", 3)]
