"""A company's folder from a look at its database: a dozen messy collections become tables that check and load."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from bson import Decimal128, ObjectId
from pymongo import MongoClient

from flows import cli
from tasks.settings import get_settings
from tasks.sources import load_sources

START = datetime(2026, 1, 1, tzinfo=UTC)


def _many(count: int, **fields: Any) -> list[dict[str, Any]]:
    return [{"_id": number, **fields, "updatedAt": START + timedelta(seconds=number)} for number in range(count)]


def _fill(database: Any) -> None:
    items = [{"sku": "a", "price": Decimal128("1.10"), "gift": {"email": "x@example.com"}}]
    database.Orders.insert_many(_many(10_050, items=items, tags=["a"], mixed=[1, {"a": 1}]))
    database.Orders.create_index("updatedAt")
    late = [{"_id": number, "updated_at": None if number % 50 == 0 else START} for number in range(10_050)]
    database["customer profiles"].insert_many(late)
    database.sessions.insert_many([{"_id": number, "createdAt": START} for number in range(10_050)])
    database.users.insert_many(
        {"_id": ObjectId(), "email": f"u{n}@example.com", "passwordHash": "x", "contact": {"tel": f"+4930123456{n}"}}
        for n in range(10)
    )
    database.prices.insert_many([{"_id": 1, "net": 5}, {"_id": 2, "net": "5,00"}, {"_id": "x", "net": 5.5}])
    database["2fa-events"].insert_one({"key with space": 1})
    database.order_items.insert_one({"_id": 1})
    database.orderItems.insert_one({"_id": 1})
    database["true"].insert_one({"_id": 1})
    database.ÄÖÜ.insert_one({"_id": 1})
    database.deep.insert_one({"_id": 1, "a": {"b": [{"c": [{"d": 1}]}]}})
    database.create_collection("empty")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgres_url: str, prefect_server: str) -> Iterator[Path]:
    monkeypatch.setenv("WAREHOUSE_URL", postgres_url)
    monkeypatch.setenv("WAREHOUSE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MONGODB_URI", raising=False)
    get_settings.cache_clear()
    yield tmp_path / "company"
    get_settings.cache_clear()


def _source_secrets(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for line in (folder / ".env").read_text().splitlines():
        name, value = line.split("=", 1)
        monkeypatch.setenv(name, shlex.split(value)[0])


def test_a_messy_database_is_proposed_checked_and_loaded(
    folder: Path,
    mongodb_uri: str,
    mongodb_database: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    postgres_url: str,
) -> None:
    with MongoClient[dict[str, Any]](mongodb_uri) as client:
        _fill(client[mongodb_database])
    assert cli.invoke(["init", str(folder), "--uri", mongodb_uri, "--database", mongodb_database, "--name", "app"]) == 0
    said = capsys.readouterr().out
    assert mongodb_uri not in said and "users.passwordHash: drop, looks like a secret" in said
    text = (folder / "sources.yaml").read_text()
    assert mongodb_uri not in text and "x@example.com" not in text
    assert stat.S_IMODE((folder / ".env").stat().st_mode) == 0o600

    _source_secrets(folder, monkeypatch)
    monkeypatch.chdir(folder)
    tables: dict[str, Any] = dict(load_sources(Path("sources.yaml")).sources["app"].tables)
    orders = tables["orders"]
    assert (orders.collection, orders.mode, orders.cursor, orders.deletes) == (
        "Orders",
        "incremental",
        "updatedAt",
        "sweep",
    )
    assert orders.arrays == {"items": "table", "tags": "json", "mixed": "json"}
    assert [step.hash for step in orders.transforms] == ["items.gift.email"]
    assert tables["customer_profiles"].missing_cursor == "include"
    assert "updated_at has no index" in text
    # A test server without change streams would get `full` here; this one has them.
    assert tables["sessions"].mode == "cdc"
    steps = [(step.drop, step.hash) for step in tables["users"].transforms]
    assert steps == [(None, "email"), ("passwordHash", None), (None, "contact.tel")]
    assert "net has values of several types" in text
    assert {tables[name].collection for name in tables if name.startswith("order_items")} == {None, "orderItems"}
    assert tables["c_2fa_events"].collection == "2fa-events" and tables["collection"].collection == "ÄÖÜ"
    assert tables["deep"].arrays == {"a.b": "table", "a.b.c": "table"}
    assert tables["empty"].mode == "full" and len(tables) == 12

    assert cli.invoke(["check"]) == 0, capsys.readouterr().out
    assert cli.invoke(["run", "app.orders", "app.users"]) == 0
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("select count(*) from bronze.app__orders__items").fetchone() == (10_050,)
        row = connection.execute("select email from bronze.app__users limit 1").fetchone()
        assert row is not None and len(row[0]) == 64
        columns = connection.execute("select * from bronze.app__users limit 0").description
        assert columns is not None and "passwordHash" not in [column.name for column in columns]

    # The company's own project is the one that is built: it takes a model, whose rows are in silver after the next run.
    assert os.environ["WAREHOUSE_DBT"] == "dbt" and (folder / "dbt" / "dbt_project.yml").exists()
    assert cli.invoke(["model", "new", "app.orders"]) == 0
    assert cli.invoke(["run", "app.orders"]) == 0, capsys.readouterr().out
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("select count(*) from silver.stg_app__orders").fetchone() == (10_050,)


def test_an_existing_configuration_is_never_overwritten(
    folder: Path, mongodb_uri: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder.mkdir()
    (folder / "sources.yaml").write_text("sources: {}")
    assert cli.invoke(["init", str(folder), "--uri", mongodb_uri, "--database", "any"]) == 2
    assert "there is a sources.yaml already" in capsys.readouterr().err
    assert (folder / "sources.yaml").read_text() == "sources: {}"


def test_an_unreachable_server_writes_nothing_and_shows_no_password(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.mongodb.client.SERVER_SELECTION_MS", 300)
    uri = "mongodb://reader:" + "hunter2" + "@127.0.0.1:1/shop"
    assert cli.invoke(["init", str(folder), "--uri", uri]) == 1
    assert "hunter2" not in "".join(capsys.readouterr())
    assert not folder.exists()
    assert "MONGODB_URI" not in os.environ
