"""Whatever changes, and whenever it is built: the large facts are what one build from nothing makes."""

from __future__ import annotations

import os
import random
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from pydantic import SecretStr

from tasks import dbt
from tasks.settings import Settings
from tests.integration.dbt import by_hand
from tests.integration.dbt.test_rules import money, order, utm, visit

pytestmark = pytest.mark.slow

FACTS = (
    *("fct_order", "fct_order_item", "fct_payment", "fct_refund"),
    *("fct_session", "fct_touchpoint", "fct_ad_spend_daily"),
)
START = datetime(2026, 3, 1, tzinfo=UTC)
CHILDREN = {"orders": ("items", "payments")}
ROUNDS = 4
Document = dict[str, Any]


class Source:
    """A shop whose documents change at random; bronze gets what changed as the loader would write it."""

    def __init__(self, connection: psycopg.Connection[Any], seed: int) -> None:
        self.connection, self.random = connection, random.Random(seed)
        self.people = [f"c{n}" for n in range(5)]
        self.orders = {f"o{n}": self._order(f"o{n}") for n in range(25)}
        self.events = {event["_id"]: event for n in range(30) for event in self._visit(f"s{n}")}
        self._load("shop", "customers", [self._customer(person) for person in self.people[:3]])
        self._load("shop", "products", [self._product(product, "2") for product in ("pan", "pen")])
        self._load("shop", "orders", self.orders.values())
        self._load("shop", "events", self.events.values())
        self._load("rates", "ecb", [self._rate(day, "1.25") for day in (-40, 0)])
        self._load("ads", "google_ads", [self._spend(n, 1_000_000) for n in range(6)])

    # -- documents

    def _moment(self) -> str:
        return (START + timedelta(minutes=self.random.randrange(30 * 1440))).isoformat()[:16]

    def _customer(self, person: str) -> Document:
        return {"_id": person, "email": f"{person}@mail.example", "created_at": START, "updated_at": START}

    def _product(self, product: str, cost: str, changed: datetime = START) -> Document:
        return {
            **{"_id": product, "sku": product, "name": product, "price": money("9"), "cost": money(cost)},
            **{"currency": "USD", "created_at": START, "updated_at": changed},
        }

    def _rate(self, day: int, dollars: str) -> Document:
        on = (START + timedelta(days=day)).date()
        return {"_id": on.isoformat(), "Date": on, "USD": Decimal(dollars)}

    def _spend(self, number: int, micros: int) -> Document:
        return {
            **{"_id": f"g{number}", "segments_date": date(2026, 3, 1 + number % 3), "customer_id": "1"},
            **{"campaign_id": str(number % 2), "campaign_name": "x", "currency": "USD", "impressions": 9, "clicks": 1},
            **{"cost_micros": micros, "conversions": 1, "conversions_value": Decimal("1.5")},
        }

    def _order(self, key: str) -> Document:
        choose = self.random.choice
        lines = [(choose(("pan", "pen", "new")), self.random.randint(1, 3), choose(("9.99", "5.00")))] * 2
        who = choose(self.people)
        buyer: Document = choose(({"customer_id": who}, {"customer_id": None, "email": f"{who}@mail.example"}))
        made = order(key, self._moment(), *lines, session_id=f"s{self.random.randrange(30)}", **buyer)
        made["currency"] = choose(("EUR", "USD"))
        made["refunds"] = [
            {"amount": money("1.01"), "refunded_at": made["placed_at"] + timedelta(days=n)} for n in (1, 2)
        ]
        made["refunds"][0]["items"] = [{"position": self.random.randrange(3), "quantity": 1, "amount": money("1.00")}]
        return made

    def _visit(self, session: str) -> list[Document]:
        choose = self.random.choice
        landing = choose((utm("google", "cpc", "x"), {"referrer": "https://news.example/"}, {}))
        customer = choose((None, None, choose(self.people)))
        browser = f"b{self.random.randrange(8)}"
        kinds = ("page_view", "product_view", "purchase")[: self.random.randint(1, 3)]
        return list(visit(session, self._moment(), *kinds, visitor=browser, customer=customer, **landing))

    # -- changes

    def change(self) -> None:
        """Make a few changes of random kinds, as one load each."""
        kinds = (
            self._change_orders, self._break_order, self._delete_orders, self._add_orders, self._more_events,
            self._earlier_event, self._delete_events, self._account_for_guest, self._delete_customer,
            self._dearer_product,
            self._restate_rate, self._restate_spend, self._delete_spend,
        )  # fmt: skip
        for kind in self.random.sample(kinds, self.random.randint(2, 6)):
            kind()

    def _some(self, documents: Iterable[str], most: int = 4) -> list[str]:
        keys = sorted(documents)
        return self.random.sample(keys, min(self.random.randint(1, most), len(keys)))

    def _change_orders(self) -> None:
        for key in self._some(self.orders):
            changes = (
                {"status": "cancelled"},
                {"refunds": [{"amount": money("2.50"), "refunded_at": datetime(2026, 4, 2, tzinfo=UTC)}]},
                {"refunds": []},
                {"currency": self.random.choice(("EUR", "USD"))},
                {"session_id": f"s{self.random.randrange(35)}"},
                self._order(key),
            )
            self.orders[key] = {**self.orders[key], **self.random.choice(changes)}
            self._load("shop", "orders", [self.orders[key]])

    def _break_order(self) -> None:
        """A total that is missing for a while: the order goes to quarantine and comes back when it is changed again."""
        key = self._some(self.orders, 1)[0]
        self._load("shop", "orders", [{name: value for name, value in self.orders[key].items() if name != "total"}])

    def _delete_orders(self) -> None:
        for key in self._some(self.orders, 2):
            del self.orders[key]
            self._delete("shop", "orders", key)

    def _add_orders(self) -> None:
        for number in range(self.random.randint(1, 3)):
            key = f"late-{len(self.orders)}-{number}-{self.random.randrange(10**6)}"
            self.orders[key] = self._order(key)
            self._load("shop", "orders", [self.orders[key]])

    def _more_events(self) -> None:
        for event in self._visit(f"s{self.random.randrange(40)}"):
            self.events[event["_id"]] = event
            self._load("shop", "events", [event])

    def _earlier_event(self) -> None:
        """The first event of a visit, arriving last: the visit came from somewhere else than it seemed."""
        event = self.events[self._some(self.events, 1)[0]]
        first = {
            **event,
            "_id": f"{event['_id']}-first",
            "at": event["at"] - timedelta(minutes=30),
            **utm("bing", "cpc"),
        }
        self.events[first["_id"]] = first
        self._load("shop", "events", [first])

    def _delete_events(self) -> None:
        for key in self._some(self.events, 3):
            del self.events[key]
            self._delete("shop", "events", key)

    def _account_for_guest(self) -> None:
        self._load("shop", "customers", [self._customer(self.random.choice(self.people))])

    def _delete_customer(self) -> None:
        self._delete("shop", "customers", self.random.choice(self.people))

    def _dearer_product(self) -> None:
        changed = START + timedelta(days=self.random.randrange(30), seconds=self.random.randrange(86_400))
        cost = f"{self.random.randint(1, 8)}.5"
        self._load("shop", "products", [self._product(self.random.choice(("pan", "pen", "new")), cost, changed)])

    def _restate_rate(self) -> None:
        self._load("rates", "ecb", [self._rate(self.random.randrange(-5, 25), f"1.{self.random.randint(10, 99)}")])

    def _restate_spend(self) -> None:
        number = self.random.randrange(9)
        self._load("ads", "google_ads", [self._spend(number, self.random.randrange(10**7))])

    def _delete_spend(self) -> None:
        self._delete("ads", "google_ads", f"g{self.random.randrange(9)}")

    # -- bronze

    def _load(self, source: str, table: str, documents: Iterable[Mapping[str, Any]]) -> None:
        """Replace the rows of documents and those of their arrays."""
        children = CHILDREN.get(table, ())
        by_hand.load_documents(self.connection, "next", table, documents, children)
        self._move(source, table, "_id")
        for child in children:
            self._move(source, f"{table}__{child}", "_root_id", table)
        self.connection.commit()

    def _move(self, source: str, table: str, key: str, parent: str = "") -> None:
        old, new = sql.Identifier("bronze", f"{source}__{table}"), sql.Identifier("bronze", f"next__{table}")
        execute = self.connection.execute
        execute(sql.SQL("create table if not exists {} (like {})").format(old, new))
        columns = [row[:2] for row in execute(
            "select attname, format_type(atttypid, atttypmod) from pg_attribute "
            "where attrelid = %s::regclass and attnum > 0 and not attisdropped", [f"bronze.next__{table}"]
        ).fetchall()]  # fmt: skip
        for name, kind in columns:
            execute(
                sql.SQL("alter table {} add column if not exists {} {}").format(
                    old, sql.Identifier(name), sql.SQL(kind)
                )
            )
        names = sql.SQL(", ").join(sql.Identifier(name) for name, _ in columns)
        roots = sql.Identifier("bronze", f"next__{parent or table}")
        execute(sql.SQL("delete from {} where {} in (select _id from {})").format(old, sql.Identifier(key), roots))
        execute(sql.SQL("insert into {} ({}) select {} from {}").format(old, names, names, new))

    def _delete(self, source: str, table: str, key: str) -> None:
        self.connection.execute(
            sql.SQL(
                "update {} set _deleted_at = clock_timestamp(), _loaded_at = clock_timestamp() where _id = %s"
            ).format(sql.Identifier("bronze", f"{source}__{table}")),
            [key],
        )
        self.connection.commit()


def content(url: str, tables: Sequence[str]) -> dict[str, list[tuple[Any, ...]]]:
    """Rows of the tables as text, without the columns that say when and how they were made."""
    found = {}
    with psycopg.connect(url) as connection:
        for table in tables:
            columns = connection.execute(
                "select column_name from information_schema.columns where table_schema = 'gold' and table_name = %s "
                "and column_name not like '\\_%%' order by ordinal_position", [table]
            ).fetchall()  # fmt: skip
            names = sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(name)) for (name,) in columns)
            query = sql.SQL("select {} from {} order by 1").format(names, sql.Identifier("gold", table))
            found[table] = sorted(connection.execute(query).fetchall(), key=str)
    return found


# A seed takes a minute and a half; `make simulate-increments` runs as many as it is told to.
SEEDS = range(1, 1 + int(os.environ.get("WAREHOUSE_INCREMENT_SEEDS", "1")))


@pytest.mark.parametrize("seed", SEEDS)
def test_any_interleaving_of_changes_and_builds_equals_one_build_from_nothing(
    postgres_url: str, tmp_path: Path, seed: int
) -> None:
    settings = Settings(url=SecretStr(postgres_url), home=tmp_path)
    # The rule that changes on the way: what a later visit from this site counts as.
    before: dict[str, Any] = {"own_domains": []}
    after = {"own_domains": ["news.example"], "reporting_timezone": "America/New_York"}
    with psycopg.connect(postgres_url) as connection:
        source = Source(connection, seed)
        dbt.run(settings, exclude=["resource_type:test"], variables=before).check()
        for number in range(ROUNDS):
            for _ in range(source.random.randint(1, 2)):
                source.change()
            rules = before if number < ROUNDS // 2 else after
            dbt.run(settings, exclude=["resource_type:test"], variables=rules).check()
    built = content(postgres_url, FACTS)
    assert all(built[table] for table in FACTS)
    dbt.run(settings, full_refresh=True, variables=after).check()
    afresh = content(postgres_url, FACTS)
    for table in FACTS:
        assert built[table] == afresh[table], table


def test_a_build_without_changes_writes_no_row(postgres_url: str, tmp_path: Path) -> None:
    settings = Settings(url=SecretStr(postgres_url), home=tmp_path)
    with psycopg.connect(postgres_url) as connection:
        Source(connection, 4)
    dbt.run(settings, exclude=["resource_type:test"]).check()
    again = dbt.run(settings, select=[*FACTS])
    again.check()
    built = {node.name: node.rows_affected for node in again.nodes if node.resource_type == "model"}
    assert built == dict.fromkeys(FACTS, 0)


@pytest.mark.parametrize("view", ["int_shop__orders", "int_shop__refunds"])
def test_few_orders_are_looked_up_by_key(postgres_url: str, tmp_path: Path, view: str) -> None:
    settings = Settings(url=SecretStr(postgres_url), home=tmp_path)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        Source(connection, 4)
        dbt.run(settings, select=[f"+{view}"], exclude=["resource_type:test", "resource_type:unit_test"]).check()
        connection.execute("create unique index by_id on bronze.shop__orders (_id)")
        connection.execute("create temp table wanted as select 'o1' as order_id")
        connection.execute("alter table wanted add primary key (order_id); analyze wanted; analyze bronze.shop__orders")
        # So few rows would be read whole; a view that cannot be joined by the index is read whole even so.
        connection.execute("set enable_seqscan = off; set enable_hashjoin = off; set enable_mergejoin = off")
        query = f"explain select * from silver.{view} where order_id in (select order_id from wanted)"
        plan = "\n".join(line for (line,) in connection.execute(query.encode()).fetchall())
    assert "Index Cond: (_id = wanted.order_id)" in plan, plan
