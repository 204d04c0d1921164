"""The budget of a source among processes: whose turn it is stands in the warehouse."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable, Iterator

import psycopg
import pytest

from tasks.marketing.rest.budget import SharedTurns
from tasks.marketing.rest.clock import Clock
from tasks.ops import turns
from tasks.ops.migrations import migrate
from tasks.settings import get_settings

# Prints the time at which each of its requests may be sent, in seconds since 1970.
_PROCESS = """
import sys, time
from tasks.marketing.rest.budget import SharedTurns
from tasks.marketing.rest.clock import Clock

shop = SharedTurns("shop", 10, 200, Clock())
for _ in range(int(sys.argv[1])):
    wait = shop.take()
    print(time.time() + wait)
"""
EACH = 25


@pytest.fixture
def warehouse(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[psycopg.Connection[object]]:
    monkeypatch.setenv("WAREHOUSE_URL", postgres_url)
    get_settings.cache_clear()
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        migrate(connection)
        yield connection
    get_settings.cache_clear()


def test_processes_share_the_turns_of_a_source(warehouse: psycopg.Connection[object]) -> None:
    command = [sys.executable, "-c", _PROCESS, str(EACH)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    sent = sorted(float(line) for process in processes for line in process.communicate(timeout=60)[0].splitlines())
    assert len(sent) == 2 * EACH
    # Ten at once, then one each twenty seconds, whoever asks.
    after_the_first = [moment for moment in sent if moment > sent[0] + 10]
    assert len(after_the_first) == 2 * EACH - 10
    assert all(later - before > 15 for before, later in itertools.pairwise(after_the_first))
    assert sent[-1] - sent[0] == pytest.approx((2 * EACH - 10) * 20, abs=10)


def test_a_pause_holds_for_all_and_a_shorter_one_does_not_end_it(warehouse: psycopg.Connection[object]) -> None:
    here, there = (SharedTurns("shop", 10, 1, Clock()) for _ in range(2))
    here.pause(60)
    there.pause(5)
    assert 30 < there.take() <= 60
    assert SharedTurns("other", 10, 1, Clock()).take() == 0


@pytest.mark.parametrize("ask", [SharedTurns.take, lambda turns: turns.pause(0)])
def test_turns_go_on_over_a_connection_that_was_closed(
    warehouse: psycopg.Connection[object], ask: Callable[[SharedTurns], object]
) -> None:
    shop = SharedTurns("shop", 2, 600, Clock())
    assert shop.take() == 0
    warehouse.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where datname = current_database() and application_name = 'warehouse turns'"
    )
    ask(shop)
    assert [shop.take(), shop.take()][-1] > 200


def test_a_bucket_fills_again(warehouse: psycopg.Connection[object]) -> None:
    assert [turns.take(warehouse, "shop", 2, 200) for _ in range(3)] == [0, 0, pytest.approx(100, abs=20)]
    # As after five minutes: three turns take three times a hundred seconds to come back.
    warehouse.execute("update ops.turns set due = due - interval '5 minutes'")
    assert [turns.take(warehouse, "shop", 2, 200) for _ in range(3)] == [0, 0, pytest.approx(100, abs=20)]
