"""Documents that break a rule are rejects with its name, leave bronze as it was, and come in once it is loosened."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr

from tasks.bronze.pending import load_pending
from tasks.bronze.rejects import Replayed, replay
from tasks.bronze.verify import verify_table
from tasks.errors import RejectLimitExceeded
from tasks.extract import ExtractContext, ExtractResult, extract_table
from tasks.landing import Landing
from tasks.settings import Settings
from tasks.sources import TableRef, load_sources

POSITIVE = {"field": "items.qty", "range": {"min": 1}, "name": "something is bought"}
KNOWN = {"field": "status", "set": ["new", "paid"]}


class Orders:
    """A table of JSON lines that is read from its files into bronze, with the rules that it has at the time."""

    def __init__(self, url: str, home: Path) -> None:
        self.files = home / "files"
        self.files.mkdir()
        self.home = home
        self.settings = Settings(url=SecretStr(url), home=home)
        self.state: dict[str, Any] = {}

    def ref(self, *rules: dict[str, Any], **table: Any) -> TableRef:
        shape = {"pattern": "*.jsonl", "format": "jsonl", "key": ["id"], "arrays": {"items": "table"}}
        tables = {"orders": {**shape, "rules": list(rules), **table}}
        source = {"kind": "files", "path": str(self.files), "tables": tables}
        (self.home / "sources.yaml").write_text(json.dumps({"sources": {"shop": source}}))
        return load_sources(self.home / "sources.yaml").table("shop.orders")

    def write(self, name: str, *documents: dict[str, Any]) -> None:
        (self.files / f"{name}.jsonl").write_text("".join(f"{json.dumps(document)}\n" for document in documents))

    def step(self, ref: TableRef) -> ExtractResult:
        result = extract_table(ref, ExtractContext(Landing.open(self.settings.landing_root()), state=self.state))
        load_pending(ref, self.settings)
        if result.manifest:
            self.state = result.manifest.checkpoint
        return result

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.settings.database_url()) as connection:
            return connection.execute(query.encode()).fetchall()

    def bronze(self) -> list[tuple[Any, ...]]:
        return self.rows(
            "select o.id, o.status, coalesce(array_agg(i.qty order by i.qty) filter (where i.qty is not null), '{}')"
            " from bronze.shop__orders o left join bronze.shop__orders__items i on i._root_id = o._id"
            " and i._deleted_at is null where o._deleted_at is null group by 1, 2 order by 1"
        )

    def rejects(self) -> list[tuple[Any, ...]]:
        return self.rows("select document_id, reason, path, outcome from ops.rejects order by id")


def order(number: int, status: str, *quantities: int) -> dict[str, Any]:
    return {"id": number, "status": status, "items": [{"qty": quantity} for quantity in quantities]}


@pytest.fixture
def orders(postgres_url: str, tmp_path: Path) -> Orders:
    return Orders(postgres_url, tmp_path)


def test_what_breaks_a_rule_is_a_reject_and_comes_in_whole_once_the_rule_allows_it(orders: Orders) -> None:
    strict = orders.ref(POSITIVE, KNOWN)
    orders.write("a", order(1, "new", 1, 2), order(2, "odd", 3, 4), order(3, "paid", 5, 0), order(4, "paid"))
    metrics = orders.step(strict).metrics
    assert (metrics.rows_read, metrics.rows_landed, metrics.rows_rejected) == (4, 2, 2)
    assert orders.bronze() == [(1, "new", [1, 2]), (4, "paid", [])]
    assert orders.rejects() == [
        ("2", "rule 'status set' is broken", "status", None),
        ("3", "rule 'something is bought' is broken", "items.qty", None),
    ]
    [[kept]] = orders.rows("select document from ops.rejects where document_id = '3'")
    assert [item["qty"] for item in json.loads(kept)["items"]] == [5, 0]
    assert orders.rows("select rows_landed, rows_rejected, child_rows from ops.batches") == [(2, 2, 2)]
    assert verify_table(strict, orders.settings).equal

    assert replay(strict, orders.settings) == Replayed(0, 0, 2)
    assert replay(orders.ref(POSITIVE), orders.settings) == Replayed(1, 0, 1)
    assert orders.bronze() == [(1, "new", [1, 2]), (2, "odd", [3, 4]), (4, "paid", [])]
    assert replay(orders.ref(), orders.settings) == Replayed(1, 0, 0)
    assert orders.bronze()[2] == (3, "paid", [0, 5])
    assert [row[3] for row in orders.rejects()] == ["loaded", "loaded"]


def test_the_row_of_before_stays_and_a_reject_never_replaces_a_later_version(orders: Orders) -> None:
    ref = orders.ref(KNOWN)
    orders.write("a", order(1, "new", 1), order(2, "new", 2))
    orders.step(ref)
    # Of two files of one batch the later one has the order as it is by then.
    orders.write("b", order(1, "odd", 7), order(2, "odd", 8))
    orders.write("c", order(1, "paid", 9))
    orders.step(ref)
    assert orders.bronze() == [(1, "paid", [9]), (2, "new", [2])]
    assert replay(orders.ref(), orders.settings) == Replayed(1, 1, 0)
    assert orders.bronze() == [(1, "paid", [9]), (2, "odd", [8])]
    assert sorted(row[3] for row in orders.rejects()) == ["loaded", "outdated"]


def test_a_document_that_lost_its_array_loses_its_child_rows_when_it_comes_in(orders: Orders) -> None:
    orders.write("a", order(1, "new", 1, 2))
    orders.step(orders.ref(KNOWN))
    orders.write("b", {"id": 1, "status": "odd"})
    orders.step(orders.ref(KNOWN))
    assert orders.bronze() == [(1, "new", [1, 2])]
    assert replay(orders.ref(), orders.settings) == Replayed(1, 0, 0)
    assert orders.bronze() == [(1, "odd", [])]


def test_a_rule_that_warns_is_counted_and_told(orders: Orders) -> None:
    ref = orders.ref({**KNOWN, "on_fail": "warn"}, POSITIVE)
    orders.write("a", order(1, "odd", 1), order(2, "new", 1), order(3, "odd", 0))
    result = orders.step(ref)
    assert result.warnings == ("shop.orders: 2 document(s) break the rule 'status set'",)
    assert (result.metrics.row()["rows_warned"], result.metrics.rows_rejected) == (1, 1)
    assert [row[0] for row in orders.bronze()] == [1, 2]


def test_a_day_that_is_replaced_keeps_the_row_whose_new_version_breaks_a_rule(orders: Orders) -> None:
    shape: dict[str, Any] = {
        "pattern": "*.csv",
        "format": "csv",
        "arrays": {},
        "partition": "day",
        "types": {"day": "day", "id": "int"},
    }
    ref = orders.ref(KNOWN, **shape)
    (orders.files / "1.csv").write_text("day,id,status\n2026-01-01,1,new\n2026-01-01,2,new\n2026-01-01,3,new\n")
    orders.step(ref)
    (orders.files / "1.csv").write_text("day,id,status\n2026-01-01,1,paid\n2026-01-01,2,odd\n")
    orders.step(ref)
    query = "select id, status from bronze.shop__orders where _deleted_at is null order by 1"
    assert orders.rows(query) == [(1, "paid"), (2, "new")]
    assert replay(orders.ref(**shape), orders.settings) == Replayed(1, 0, 0)
    assert orders.rows(query) == [(1, "paid"), (2, "odd")]


def test_what_a_transform_hides_is_not_in_the_reject_and_the_limit_counts(
    orders: Orders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAREHOUSE_HASH_KEY", "key")
    hiding = {"transforms": [{"hash": "email"}, {"drop": "phone"}]}
    orders.write("a", *({**order(n, "odd", 1), "email": "a@x", "phone": "555"} for n in (1, 2)))
    with pytest.raises(RejectLimitExceeded, match="2 documents were rejected, 1 are allowed"):
        orders.step(orders.ref(KNOWN, reject_limit=1, **hiding))
    [first, second] = orders.rows("select document from ops.rejects")
    assert "a@x" not in first[0] + second[0] and "555" not in first[0] + second[0] and '"status":"odd"' in first[0]
    orders.state = {}
    load_pending(orders.ref(KNOWN, **hiding), orders.settings)
    assert replay(orders.ref(**hiding), orders.settings) == Replayed(2, 0, 0)
    assert orders.rows("select count(distinct email), count(*) from bronze.shop__orders") == [(1, 2)]
