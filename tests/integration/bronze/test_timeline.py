"""Two releases of an application, through the real load: what people read of them, and what nobody may read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from flows import cli, console
from monitoring import lineage
from tasks.drift.kinds import KINDS
from tasks.mongodb.config import MongoTable
from tasks.settings import get_settings
from tests.fixtures.bronze import Warehouse

SOURCES = """
sources:
  shop:
    kind: mongodb
    uri: mongodb://nowhere
    database: shop
    tables:
      orders:
        arrays: {items: table}
        transforms: [{hash: card}]
"""


@pytest.fixture
def command(
    warehouse: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., str]]:
    """Runs a command on the warehouse; returns what it printed."""
    (tmp_path / "sources.yaml").write_text(SOURCES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WAREHOUSE_URL", warehouse.url)
    get_settings.cache_clear()

    def run(*words: str) -> str:
        assert cli.invoke(console.take_options(["drift", *words])) == cli.DONE
        return capsys.readouterr().out

    yield run
    console.take_options([])
    get_settings.cache_clear()


def two_releases(warehouse: Warehouse) -> None:
    """Load a first batch, a release in two batches, and one ten hours later."""
    warehouse.table = MongoTable.model_validate({"arrays": {"items": "table"}})
    warehouse.load([{"_id": n, "total": n, "state": f"s{n}", "items": [{"qty": n}]} for n in range(4)])
    warehouse.load(
        [{"_id": n, "total": n, "status": f"s{n}", "items": [{"qty": "`two`"}]} for n in range(3)]
        + [{"_id": 4, "total": 4}]
    )
    warehouse.load([{"_id": 5, "total": "a\x1bb", "card": "4000-plain", "contact": {"email": "ann", "via": "web"}}])
    warehouse.ticks += 600
    deep = {"list": [1, {"email": "ann"}]}
    warehouse.load([{"_id": 6, "note": "write to jane.doe@example.com", "long": "y" * 2_000, "deep": deep}])


def test_a_timeline_tells_two_releases_with_samples_and_without_personal_data(
    warehouse: Warehouse, command: Callable[..., str]
) -> None:
    two_releases(warehouse)
    node = lineage.Node("model.p.fct", "fct", "gold.fct", "gold", None, None, (), ("shop__orders",))
    with psycopg.connect(warehouse.url, autocommit=True) as connection:
        lineage.save(connection, lineage.Project((node,), ()))
    rows = json.loads(command("timeline", "shop.orders", "--json"))
    found = {(row["release"], row["field"], row["change"]): row for row in rows}
    assert len(found) == len(rows) == warehouse.value("select count(*) from ops.schema_changes") - 3
    assert {release for release, *_ in found} == {1, 2} and {row["models"][0] for row in rows} == {"gold.fct"}

    renamed = found[1, "status", "renamed"]
    assert (renamed["before"], renamed["since"]) == (["s3"], ["s0", "s1", "s2"])
    assert (renamed["rows_since"], renamed["with_the_field"]) == (6, 3)
    conflict = found[1, "total", "type_conflict"]
    assert (conflict["rescued"], conflict["since"], conflict["before"]) == (1, ["a\\x1bb"], ["0", "1", "2"])
    assert found[1, "items[].qty", "type_conflict"]["since"] == ["`two`"]
    assert found[2, "note", "appeared"]["since"] == ["write to <e-mail>"]
    assert found[2, "long", "appeared"]["since"] == ["(more than 1,000 characters)"]
    assert found[2, "deep.list", "appeared"]["since"] == ['[1, {"email": "***"}]']
    for field in ("card", "contact.email"):
        hidden = found[1, field, "appeared"]
        assert hidden["since"] == hidden["before"] == [] and hidden["hidden"]
    assert found[1, "contact.via", "appeared"]["since"] == ["web"]

    said = command("timeline", "shop.orders")
    assert "in 2 likely release(s)" in said and "dbt models above: gold.fct" in said
    assert "release 1, read 2026-01-01 00:02 to 2026-01-01 00:03 UTC" in said
    assert "note: appeared (text); column note added; open" in said
    assert "      rows read since: 3 of 6 have it" in said and "      since: s0 | s1 | s2" in said
    assert f"      next: {KINDS['appeared'].next_step}" in said
    assert not any(secret in said for secret in ("4000-plain", "ann", "jane.doe", "\x1b"))


def test_the_message_is_about_what_is_open_since_a_time(warehouse: Warehouse, command: Callable[..., str]) -> None:
    two_releases(warehouse)
    said = command("message", "shop.orders")
    assert said.startswith("# Documents of `shop.orders` have changed\n")
    assert said.count("\n## Seen on ") == 2
    assert "`status` probably is the new name of `state`. 3 of the 6 documents read since then have it." in said
    assert "Since then: `` `two` ``." in said
    assert not any(secret in said for secret in ("4000-plain", "ann", "jane.doe"))

    later = command("message", "shop.orders", "--since", "2026-01-01T05:00:00")
    assert "`note` is new" in later and "status" not in later
    found = warehouse.rows("select id from ops.schema_changes where field in ('note', 'long', 'deep.list')")
    command("resolve", *(str(number) for (number,) in found), "--why", "intended")
    assert "nothing to ask" in command("message", "shop.orders", "--since", "2026-01-01T05:00:00Z")
    assert ": intended" in command("timeline", "shop.orders").rpartition("note: appeared")[2]
