"""The ledger as people work with it: entries are open until somebody closes them, with who and why."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg
import pytest

from flows import cli
from monitoring import log
from monitoring.reader import apply
from tasks.settings import get_settings
from tests.fixtures.bronze import Warehouse


@pytest.fixture
def command(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., tuple[int, str]]]:
    """Runs a command on the warehouse; returns its exit code and all that it said."""
    monkeypatch.setenv("WAREHOUSE_URL", warehouse.url)
    get_settings.cache_clear()

    def run(*words: str) -> tuple[int, str]:
        code = cli.invoke(list(words))
        said = capsys.readouterr()
        return code, said.out + said.err

    yield run
    get_settings.cache_clear()


def test_entries_are_open_until_somebody_closes_them(
    warehouse: Warehouse, command: Callable[..., tuple[int, str]]
) -> None:
    warehouse.load([{"_id": 1}])
    batch = warehouse.load([{"_id": 2, "coupon": "x", "note": "y"}]).batch_id
    ids = dict(warehouse.rows("select field, id from ops.schema_changes"))
    with psycopg.connect(warehouse.url, autocommit=True) as connection:
        apply(connection, "ledger_reader", "secret-of-tests", [])

    assert (
        command("drift", "resolve", str(ids["coupon"]), "--by", "the shop's team", "--why", "a new feature")[0]
        == cli.DONE
    )
    for words in ([], ["show"], ["shop.orders"], ["--limit", "5"]):
        code, said = command("drift", *words)
        assert code == cli.DONE and "note" in said and "coupon" not in said
    _, said = command("drift", "shop.orders", "--all")
    assert "coupon" in said and "by the shop's team: a new feature" in said

    code, said = command("drift", "resolve", str(ids["note"]), str(ids["coupon"]), "--why", "twice")
    assert code == cli.WRONG_USE and f"no open entry is called {ids['coupon']}: nothing was closed" in said
    assert warehouse.value("select count(*) from ops.schema_changes where resolved_at is null") == 1
    with psycopg.connect(warehouse.url, autocommit=True) as connection:
        assert [change["field"] for change in log.schema_changes(connection, [batch])] == ["note"]
        connection.execute("set role ledger_reader")
        open_ = "select field from monitoring.schema_changes where resolved_at is null"
        assert connection.execute(open_).fetchall() == [("note",)]
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("select resolved_why from ops.schema_changes")
        connection.execute("reset role")
        connection.execute("drop owned by ledger_reader; drop role ledger_reader")


def test_what_changes_again_is_open_again(warehouse: Warehouse, command: Callable[..., tuple[int, str]]) -> None:
    warehouse.load([{"_id": number, "v": 1} for number in range(20)])
    warehouse.load([{"_id": number} for number in range(20)])
    for _ in range(2):
        [number] = warehouse.rows("select max(id) from ops.schema_changes where change = 'vanished'")[0]
        assert command("drift", "resolve", str(number), "--why", "known")[0] == cli.DONE
        warehouse.load([{"_id": number, "v": 2} for number in range(20)])
        warehouse.load([{"_id": number} for number in range(20)])
        assert (
            warehouse.value("select count(*) from ops.schema_changes where change = 'vanished' and resolved_at is null")
            == 1
        )
