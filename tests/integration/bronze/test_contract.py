"""A contract that is written from bronze passes the check, and nothing of what is in bronze breaks it."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import bson
import psycopg
import pytest
from bson.binary import Binary, UuidRepresentation
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128
from ruamel.yaml import YAML

from flows import cli
from tasks.drift import paths
from tasks.drift.contract import written
from tasks.landing.decoder import make_decoder
from tasks.landing.rules import Rules
from tasks.landing.transforms import Transforms
from tasks.mongodb.config import MongoTable
from tasks.ops import TableKey
from tasks.settings import get_settings
from tasks.sources import load_sources
from tests.fixtures.bronze import Warehouse

KEY = TableKey("shop", "orders")
STATUS = ("paid", "it's", "yes", "5", "a: b", "#x", "naïve")


def contract(warehouse: Warehouse) -> list[dict[str, Any]]:
    with psycopg.connect(warehouse.url) as connection:
        text = "\n".join(written(connection, KEY, warehouse.table))
    found = YAML(typ="safe").load(text) if text else {"rules": []}
    return list(found["rules"])


def broken(table: MongoTable, rules: list[dict[str, Any]], documents: list[dict[str, Any]]) -> list[str]:
    """Return what the rules say against the documents when they are read once more."""
    wanted = MongoTable.model_validate({"arrays": table.arrays, "rules": rules})
    decoder = make_decoder(children=wanted.child_paths, seed=wanted.fingerprint())
    decoder.push(b"".join(map(bson.encode, documents)))
    frames = Transforms(wanted.transforms, wanted.child_paths).apply_tables(decoder.flush().tables)
    tried = Rules(wanted.rules, wanted.child_paths)
    found = tried.sort(frames).rejects
    return [*(found["reason"] if found.height else ()), *tried.warned]


def everything(number: int) -> dict[str, Any]:
    """Return a document whose fields are of one kind each, of several, sparse, odd, or nested and flat by turns."""
    odd = number % 2
    by_turns: list[Any] = [1, 1.5, Decimal128("2.5"), "text", None, [1], {"x": 1}, datetime(2026, 1, 1, tzinfo=UTC)]
    return {
        "_id": number,
        "status": STATUS[number % len(STATUS)],
        "free": f"text {number}",
        "few": "rare" if number == 3 else None,
        "hostile": ("${HOME}", "ok")[odd],
        "count": number,
        "total": (Decimal128("12.50"), 3, 0.1)[number % 3],
        "balance": -5 if number == 7 else 5,
        "rate": math.nan if number == 9 else 0.5,
        "bound": math.inf if odd else 0.0,
        "zero": Decimal128("-0.00") if number == 5 else Decimal128("1.00"),
        "mixed": by_turns[number % len(by_turns)],
        "flips": {"inner": 1} if odd else "flat",
        "when": DatetimeMS(2**62) if number == 8 else datetime(2026, 1, 1, tzinfo=UTC),
        "uuid": Binary.from_uuid(UUID(int=number), UuidRepresentation.STANDARD),
        "flag": bool(odd),
        "customer": {"country": ("DE", "FR")[odd], "a.b": 1, "p|q": "x", "Case": 1, "case": 2},
        "items": [{"sku": f"s{n}", "qty": n, "parts": [n]} for n in range(number % 4)],
        "tags": ["a", number],
        **({"coupon": "x"} if number > 30 else {}),
        "nul": "a\x00b" if number == 2 else "plain",
        "email": f"{number}@x",
        "phone": "555",
    }


def test_nothing_of_what_is_in_bronze_breaks_the_contract(warehouse: Warehouse) -> None:
    warehouse.table = MongoTable.model_validate({"arrays": {"items": "table", "items.parts": "table"}})
    documents = [everything(number) for number in range(150)]
    for start in range(0, 150, 50):
        warehouse.load(documents[start : start + 50])
    rules = contract(warehouse)
    assert broken(warehouse.table, rules, documents) == []

    table = MongoTable.model_validate({"arrays": warehouse.table.arrays, "rules": rules})
    with psycopg.connect(warehouse.url) as connection:
        assert list(paths.unseen(table.named_paths, paths.seen(connection, KEY))) == []

    told = {(rule["field"], *(set(rule) - {"field", "on_fail"})): rule for rule in rules}
    assert set(told["status", "set"]["set"]) == set(STATUS) and told["status", "set"]["on_fail"] == "warn"
    assert told["count", "type"]["type"] == ["int"] and told["count", "range"]["range"] == {"min": 0}
    assert ("items.qty", "range") in told and ("items.qty", "required") in told
    assert told["total", "type"]["type"] == ["decimal"] and told["customer.country", "set"]["set"] == ["DE", "FR"]
    for unsure in (("balance", "range"), ("rate", "range"), ("mixed", "type"), ("free", "set"), ("few", "set")):
        assert unsure not in told
    assert ("coupon", "required") not in told and ("total", "required") in told

    # It is a contract: each kind of rule finds what is otherwise.
    other = {**everything(0), "status": "odd", "count": -1, "total": None, "flag": "yes"}
    assert broken(warehouse.table, rules, [other]) == [
        "rule 'count range' is broken, rule 'total required' is broken, rule 'flag type' is broken",
        "status set",
    ]


def test_what_transforms_take_away_has_no_rule(warehouse: Warehouse) -> None:
    warehouse.load([everything(number) for number in range(20)])
    steps = [{"drop": "phone"}, {"rename": {"email": "contact"}}, {"drop": "customer"}]
    warehouse.table = MongoTable.model_validate({"transforms": steps})
    fields = {rule["field"] for rule in contract(warehouse)}
    assert "count" in fields and not fields & {"phone", "email", "customer.country"}


def test_the_command_prints_what_can_be_pasted(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch, tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    head = """sources:
  shop:
    kind: mongodb
    uri: mongodb://nowhere
    database: shop
    tables:
      orders:
        mode: full
"""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sources.yaml").write_text(head)
    monkeypatch.setenv("WAREHOUSE_URL", warehouse.url)
    get_settings.cache_clear()
    assert cli.invoke(["contract", "shop.orders"]) == cli.WRONG_USE
    assert "bronze holds nothing of it" in capsys.readouterr().err
    documents = [{"_id": number, "total": Decimal128("1.50")} for number in range(3)]
    warehouse.load(documents)
    assert cli.invoke(["contract", "shop.orders"]) == cli.DONE
    (tmp_path / "sources.yaml").write_text(head + capsys.readouterr().out)
    rules = load_sources(tmp_path / "sources.yaml").table("shop.orders").table.rules
    assert [rule.title for rule in rules] == ["total required", "total type", "total range"]
    get_settings.cache_clear()
