"""Values that silver cannot show, loaded as they come from a source: null, told with the reason, and never in a sum."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import bson
import psycopg
import pytest
from bson import Decimal128
from psycopg import sql
from pydantic import SecretStr

from tasks import dbt
from tasks.landing import Landing
from tasks.mongodb.config import MongoTable
from tasks.settings import Settings
from tests.fixtures.bronze import Warehouse
from tests.integration.dbt.test_rules import visit

AT = datetime(2026, 3, 2, 10, tzinfo=UTC)
LATIN = b"M\xfcnchen"


def order(key: str, **more: Any) -> dict[str, Any]:
    item = {"product_id": "pan", "quantity": 1, "unit_price": 10.0, "discount": 0.0, "total": 10.0}
    return {
        "_id": key,
        "order_number": f"N-{key}",
        "customer_id": "ann",
        "status": "paid",
        "currency": "EUR",
        "items": [item],
        "payments": [{"method": "card", "amount": 10.0, "status": "captured", "paid_at": AT}],
        "subtotal": 10.0,
        "discount": 0.0,
        "shipping": 0.0,
        "tax": 0.0,
        "total": 10.0,
        "placed_at": AT,
        "updated_at": AT,
        "shipping_address": {"city": "Bonn", "country": "DE"},
        **more,
    }


def with_bytes(document: dict[str, Any], text: str, raw: bytes) -> bytes:
    """Return a document's BSON with a text, of as many bytes, replaced by bytes."""
    found = bson.encode(document)
    assert found.count(text.encode()) == 1 and len(text) == len(raw)
    return found.replace(text.encode(), raw)


ITEM = {"product_id": "pan", "quantity": 1, "unit_price": 10.0, "discount": 0.0, "total": 10.0}
ORDERS: list[dict[str, Any] | bytes] = [
    *(order(f"fine-{n}") for n in range(5)),
    order("nan", total=math.nan),
    order("infinite", discount=Decimal128("Infinity")),
    order("words", tax="nineteen", shipping=-math.inf),
    order("blank", tax=" "),
    order("day", placed_at="tomorrow"),
    order("items", items=[ITEM, {**ITEM, "discount": math.nan}, {**ITEM, "quantity": 1.5}], subtotal=30.0, total=30.0),
    order("payments", payments=[{"method": "card", "amount": Decimal128("NaN"), "status": "captured", "paid_at": AT}]),
    order("refunds", refunds=[{"amount": math.nan, "refunded_at": AT}, {"amount": 1.0, "refunded_at": AT}]),
    order("negative", refunds=[{"amount": -3.0, "refunded_at": AT}]),
    # Days that no calendar has: of the order itself, and of what belongs to it.
    order("epoch", placed_at=datetime(1970, 1, 1, tzinfo=UTC)),
    order(
        "clock",
        payments=[{"method": "card", "amount": 10.0, "status": "captured", "paid_at": datetime(1, 1, 1, tzinfo=UTC)}],
        refunds=[{"amount": 2.0, "refunded_at": datetime(2999, 1, 1, tzinfo=UTC)}],
    ),
    # What is paid back of an order that cost nothing is lost all the same.
    order(
        "free",
        discount=10.0,
        total=0.0,
        payments=[],
        items=[{**ITEM, "discount": 10.0, "total": 0.0}],
        refunds=[{"amount": 4.0, "refunded_at": AT}],
    ),
    order("kuna", currency="HRK"),
    order("empty", items=[]),
    order("bare", items=[{**ITEM, "product_id": "bare"}]),
    # Valid text beside it makes the column text; a coupon has no other value anywhere.
    with_bytes(order("city", shipping_address={"city": "CITYxxx", "country": "DE"}), "CITYxxx", LATIN),
    with_bytes(order("coupon", coupon="COUPONx"), "COUPONx", LATIN),
]
AD = {"customer_id": "1", "campaign_id": "1", "campaign_name": "c", "currency": "EUR", "impressions": 1, "clicks": 1}


@pytest.fixture(scope="module")
def gold(module_postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[psycopg.Connection[Any]]:
    home: Path = tmp_path_factory.mktemp("unreadable")
    landing = Landing.open(str(home / "landing"))

    def load(source: str, table: str, documents: list[Any], *children: str) -> None:
        warehouse = Warehouse(module_postgres_url, landing, source, table)
        warehouse.table = MongoTable(arrays=dict.fromkeys(children, "table"))
        warehouse.load(documents)

    load("shop", "orders", ORDERS, "items", "payments")
    product = {"sku": "PAN", "name": "Pan", "price": 10.0, "currency": "EUR", "created_at": AT, "updated_at": AT}
    bare = {"_id": "bare", "sku": "BARE", "price": 10.0, "cost": 6.0, "created_at": AT, "updated_at": AT}
    load("shop", "products", [{"_id": "pan", **product, "cost": -math.inf}, bare])
    events = [*visit("late", "2999-01-01T10:00"), *visit("fine", "2026-03-02T10:00")]
    load("shop", "events", events)
    days = (("2026-02-27", 1.25), ("2026-03-02", math.nan))
    rates = [{"_id": day, "Date": day, "USD": dollars, "HRK": 8.0} for day, dollars in days]
    load("rates", "ecb", rates)
    spend = [("a", 2_000_000.0, 1.0), ("b", math.nan, 1.0), ("c", 1_000_000.0, math.inf)]
    ads = [
        {"_id": key, **AD, "segments_date": "2026-03-02", "ad_id": key, "cost_micros": cost, "conversions": found}
        for key, cost, found in spend
    ]
    ads.append({"_id": "d", **AD, "segments_date": "soon", "ad_id": "d", "cost_micros": 9.0, "conversions": 1.0})
    load("ads", "google_ads", ads)
    result = dbt.run(Settings(url=SecretStr(module_postgres_url), home=home))
    assert result.success, result.failure()
    with psycopg.connect(module_postgres_url, autocommit=True) as connection:
        yield connection


def rows(gold: psycopg.Connection[Any], query: str) -> list[tuple[Any, ...]]:
    return gold.execute(query.encode()).fetchall()


def test_numbers_that_cannot_be_read_are_in_quarantine_with_their_reason(gold: psycopg.Connection[Any]) -> None:
    unread = "a number that cannot be read: "
    assert set(rows(gold, "select entity, entity_id, reason from gold.rpt_quarantine")) == {
        ("orders", "nan", unread + "total"),
        ("orders", "infinite", unread + "discount"),
        ("orders", "words", unread + "shipping, tax"),
        ("orders", "day", "no time of the order"),
        ("order items", "items:1", unread + "discount"),
        ("order items", "items:2", unread + "quantity"),
        ("payments", "payments:0", unread + "amount"),
        ("refunds", "refunds:0", "no amount, or a negative one"),
        ("refunds", "negative:0", "no amount, or a negative one"),
        ("orders", "epoch", "a day that the calendar has not"),
        ("events", "late-0", "a day that the calendar has not"),
        ("ad spend", "google_ads:d", "no day, or one that the calendar has not"),
        ("products", "pan", unread + "cost"),
        ("ad spend", "google_ads:b", unread + "cost_micros"),
        ("ad spend", "google_ads:c", unread + "conversions"),
    }


def test_no_number_or_time_of_silver_and_gold_is_without_end(gold: psycopg.Connection[Any]) -> None:
    columns = rows(
        gold,
        "select table_schema, table_name, column_name from information_schema.columns "
        "where table_schema in ('silver', 'gold') and data_type in ('numeric', 'double precision')",
    )
    assert len(columns) > 100
    for schema, table, column in columns:
        query = sql.SQL("select count(*) from {} where {}::text in ('NaN', 'Infinity', '-Infinity')")
        found = gold.execute(query.format(sql.Identifier(schema, table), sql.Identifier(column))).fetchone()
        assert found == (0,), f"{schema}.{table}.{column}"


def test_sums_are_those_of_what_can_be_read(gold: psycopg.Connection[Any]) -> None:
    # Fourteen of 10, one of 30, nothing for the free one, and 10 kuna at 8 a euro.
    assert rows(gold, "select count(*), sum(revenue) from gold.fct_order") == [(17, Decimal("171.25"))]
    assert rows(gold, "select sum(refunded) from gold.fct_order") == [(Decimal(7),)]
    assert rows(gold, "select sum(original_spend), sum(conversions) from gold.fct_ad_spend_daily") == [(3, 1)]
    assert rows(gold, "select published_on, rate from gold.fct_exchange_rate where currency = 'USD' "
                "and date_day = '2026-03-02'") == [(datetime(2026, 2, 27).date(), Decimal("0.8"))]  # fmt: skip


def test_what_is_dated_by_a_clock_that_was_never_set_counts_on_the_day_of_its_order(
    gold: psycopg.Connection[Any],
) -> None:
    paid = "select kind, amount, paid_on from gold.fct_payment where order_id = 'clock' order by 1"
    assert rows(gold, paid) == [("refund", Decimal(-2), AT.date()), ("sale", Decimal(10), AT.date())]
    assert rows(gold, "select refunded_on from gold.fct_refund where order_id = 'clock'") == [(AT.date(),)]
    assert rows(gold, "select session_id from gold.fct_session") == [("fine",)]


def test_what_is_paid_back_of_a_free_order_is_no_revenue(gold: psycopg.Connection[Any]) -> None:
    found = rows(gold, "select revenue, refunded_revenue, net_revenue from gold.fct_order where order_id = 'free'")
    assert found == [(Decimal(0), Decimal(4), Decimal(-4))]


def test_a_product_without_name_or_currency_has_its_cost(gold: psycopg.Connection[Any]) -> None:
    found = rows(gold, "select product_name, currency, cost from gold.dim_product where product_id = 'bare'")
    assert found == [("BARE", "EUR", Decimal(6))]
    assert rows(gold, "select cost from gold.fct_order_item where order_id = 'bare'") == [(Decimal(6),)]


def test_a_currency_that_is_no_more_is_worth_what_it_was(gold: psycopg.Connection[Any]) -> None:
    query = "select currency_name, revenue from gold.fct_order join gold.dim_currency using (currency)"
    assert rows(gold, f"{query} where order_id = 'kuna'") == [("Croatian kuna", Decimal("1.25"))]


def test_text_that_is_no_utf8_is_null_in_silver_and_whole_in_bronze(gold: psycopg.Connection[Any]) -> None:
    query = "select order_id, shipping_city, coupon from silver.stg_shop__orders where order_id in ('city', 'coupon')"
    assert sorted(rows(gold, query)) == [("city", None, None), ("coupon", "Bonn", None)]
    kept = [
        *rows(gold, "select _rescued #>> '{shipping_address.city,$text,base64}' from bronze.shop__orders "
                    "where _id = 'city'"),
        *rows(gold, "select coupon #>> '{$text,base64}' from bronze.shop__orders where _id = 'coupon'"),
    ]  # fmt: skip
    assert [base64.b64decode(text) for (text,) in kept] == [LATIN, LATIN]
