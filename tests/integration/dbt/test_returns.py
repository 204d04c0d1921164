"""Which items came back, how many of them and for how much: figures worked out on paper."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr

from tasks import dbt
from tasks.settings import Settings
from tests.integration.dbt import by_hand
from tests.integration.dbt.test_rules import Row, at, money, order, rows

pytestmark = pytest.mark.slow

PRODUCTS = [
    {
        **{"_id": name, "sku": name, "name": name, "price": money("9"), "cost": money(cost), "currency": "EUR"},
        **{"created_at": at("2025-01-01"), "updated_at": at("2025-01-01")},
    }
    for name, cost in (("pan", "20"), ("pen", "1"))
]


def refund(amount: str, *items: tuple[int, int, str]) -> Row:
    """A refund of `(position, quantity, amount)` items."""
    made: Row = {"amount": money(amount), "refunded_at": at("2026-04-02T10:00")}
    if items:
        made["items"] = [{"position": place, "quantity": n, "amount": money(part)} for place, n, part in items]
    return made


# 19 % VAT throughout.
ORDERS = [
    # One of two pans came back, and both pens by two refunds; shipping stays paid.
    order(
        "some", "2026-03-02T10:00", ("pan", 2, "59.50"), ("pen", 2, "5.95"), customer_id=None,
        subtotal=money("130.90"), shipping=money("11.90"), tax=money("22.80"), total=money("142.80"),
        payments=[{"method": "card", "amount": money("142.80"), "status": "captured", "paid_at": at("2026-03-02")}],
        refunds=[refund("65.45", (0, 1, "59.50"), (1, 1, "5.95")), refund("5.95", (1, 1, "5.95"))],
    ),
    # All of it came back, shipping too.
    order(
        "all", "2026-03-03T10:00", ("pan", 1, "119.00"), customer_id=None,
        subtotal=money("119.00"), shipping=money("11.90"), tax=money("20.90"), total=money("130.90"),
        payments=[{"method": "card", "amount": money("130.90"), "status": "captured", "paid_at": at("2026-03-03")}],
        refunds=[refund("130.90", (0, 1, "119.00"))],
    ),
    # A tenth as a kindness: nothing came back.
    order("kind", "2026-03-04T10:00", ("pan", 1, "119.00"), tax=money("19.00"), refunds=[refund("11.90")]),
    # An item that the order does not have: the money goes back to those that it has.
    order(
        "odd", "2026-03-05T10:00", ("pan", 1, "119.00"), tax=money("19.00"),
        refunds=[refund("59.50", (7, 1, "59.50"))],
    ),
    # Half as much again as was paid.
    order("over", "2026-03-06T10:00", ("pan", 1, "119.00"), tax=money("19.00"), refunds=[refund("178.50")]),
]  # fmt: skip


@pytest.fixture(scope="module")
def gold(module_postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(module_postgres_url) as connection:
        by_hand.load_documents(connection, "shop", "products", PRODUCTS)
        by_hand.load_documents(connection, "shop", "orders", ORDERS, ("items", "payments"))
    home: Path = tmp_path_factory.mktemp("returns")
    settings = Settings(url=SecretStr(module_postgres_url), home=home)
    # The data tests of these models pass: parts add up to the cent, payments are revenue less refunds.
    dbt.run(settings, select=["+fct_payment", "+fct_refund", "+rpt_product_performance"]).check()
    with psycopg.connect(module_postgres_url, autocommit=True) as connection:
        yield connection


def test_an_item_knows_what_of_it_came_back(gold: psycopg.Connection[Any]) -> None:
    found = rows(
        gold,
        "select order_id, product_id, returned_quantity, returned_amount, revenue, refunded_revenue, cost "
        "from gold.fct_order_item order by order_id, position",
    )
    assert found == [
        ("all", "pan", 1, Decimal("119.00"), Decimal(100), Decimal(100), Decimal(0)),
        ("kind", "pan", 0, Decimal(0), Decimal(100), Decimal(10), Decimal(18)),
        ("odd", "pan", 0, Decimal(0), Decimal(100), Decimal(50), Decimal(10)),
        ("over", "pan", 0, Decimal(0), Decimal(100), Decimal(150), Decimal(0)),
        ("some", "pan", 1, Decimal("59.50"), Decimal(100), Decimal(50), Decimal(20)),
        ("some", "pen", 2, Decimal("11.90"), Decimal(10), Decimal(10), Decimal(0)),
    ]


def test_an_order_keeps_its_shipping_where_only_items_came_back(gold: psycopg.Connection[Any]) -> None:
    found = rows(
        gold,
        "select order_id, revenue, refunded_goods_revenue, refunded_revenue, net_revenue from gold.fct_order "
        "order by order_id",
    )
    assert found == [
        ("all", Decimal(110), Decimal(100), Decimal(110), Decimal(0)),
        ("kind", Decimal(100), Decimal(10), Decimal(10), Decimal(90)),
        ("odd", Decimal(100), Decimal(50), Decimal(50), Decimal(50)),
        ("over", Decimal(100), Decimal(150), Decimal(150), Decimal(-50)),
        ("some", Decimal(120), Decimal(60), Decimal(60), Decimal(60)),
    ]


def test_a_refund_says_how_much_of_it_is_for_items(gold: psycopg.Connection[Any]) -> None:
    found = rows(
        gold, "select refund_id, amount, returned_units, returned_amount from gold.fct_refund order by refund_id"
    )
    assert found == [
        ("all:0", Decimal("130.90"), 1, Decimal("119.00")),
        ("kind:0", Decimal("11.90"), 0, Decimal(0)),
        ("odd:0", Decimal("59.50"), 1, Decimal("59.50")),
        ("over:0", Decimal("178.50"), 0, Decimal(0)),
        ("some:0", Decimal("65.45"), 2, Decimal("65.45")),
        ("some:1", Decimal("5.95"), 1, Decimal("5.95")),
    ]


def test_products_tell_what_came_back_of_them(gold: psycopg.Connection[Any]) -> None:
    found = rows(
        gold,
        "select product_id, units, returned_units, return_rate, revenue, refunded_revenue, refund_rate, margin "
        "from gold.rpt_product_performance order by 1",
    )
    assert found == [
        *[("pan", 6, 2, Decimal("0.3333"), Decimal(500), Decimal(360), Decimal("0.72"), Decimal(92))],
        *[("pen", 2, 2, Decimal(1), Decimal(10), Decimal(10), Decimal(1), Decimal(0))],
    ]


def test_payments_are_what_was_paid_less_what_was_paid_back(gold: psycopg.Connection[Any]) -> None:
    # Net of VAT, which is 19 % of everything here.
    query = "select sum(reporting_amount) / 1.19, (select sum(net_revenue) from gold.fct_order) from gold.fct_payment"
    [(paid, earned)] = rows(gold, query)
    assert paid == earned == Decimal(150)
