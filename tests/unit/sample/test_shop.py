"""The sample shop: the same for the same arguments, coherent across collections, at any size."""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from infra.sample import COLLECTIONS, Shop, Size, ad_spend, generate, write_ad_spend

LAST_DAY = date(2026, 3, 14)
SHOP = Size(customers=200, days=60, seed=3, end_date=LAST_DAY).shop()
Documents = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def documents() -> Documents:
    return {name: list(SHOP.documents(name)) for name in COLLECTIONS}


def test_equal_arguments_give_equal_documents(documents: Documents) -> None:
    again = generate(3, 200, 60, LAST_DAY)
    assert {name: list(stream) for name, stream in again.items()} == documents


def test_another_seed_gives_other_documents(documents: Documents) -> None:
    other = generate(4, 200, 60, LAST_DAY)
    assert {d["_id"] for d in other["orders"]}.isdisjoint(d["_id"] for d in documents["orders"])


def test_documents_stream_without_being_counted_first() -> None:
    huge = Shop(1, 50_000_000, 365, datetime(2026, 3, 14, tzinfo=UTC))
    for name in ("customers", "orders", "events"):
        assert len(list(islice(huge.documents(name), 5))) == 5


def test_ids_are_unique(documents: Documents) -> None:
    for name, found in documents.items():
        assert len({document["_id"] for document in found}) == len(found), name


def _dates(value: Any) -> list[datetime]:
    if isinstance(value, datetime):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [moment for one in inner for moment in _dates(one)]


def test_nothing_is_dated_after_the_end_and_something_on_the_last_day(documents: Documents) -> None:
    end = datetime(2026, 3, 15, tzinfo=UTC)
    moments = [moment for found in documents.values() for document in found for moment in _dates(document)]
    assert max(moments) < end
    assert max(order["placed_at"] for order in documents["orders"]).date() == LAST_DAY


def test_until_within_a_day_holds_too() -> None:
    until = datetime(2026, 3, 14, 1, 0, tzinfo=UTC)
    shop = Size(customers=300, days=5, end_date=until).shop()
    moments = [moment for name in COLLECTIONS for document in shop.documents(name) for moment in _dates(document)]
    assert max(moments) < until
    assert any(moment >= until - timedelta(days=1) for moment in moments)


def test_orders_belong_to_customers_products_and_the_visit_that_bought(documents: Documents) -> None:
    customers = {document["_id"] for document in documents["customers"]}
    products = {document["_id"] for document in documents["products"]}
    purchases = {event["order_id"]: event for event in documents["events"] if event["type"] == "purchase"}
    assert len(purchases) == len(documents["orders"]) > 50
    for order in documents["orders"]:
        assert order.get("customer_id", order.get("email")) in customers | {order.get("email")}
        assert {item["product_id"] for item in order["items"]} <= products
        assert purchases[order["_id"]]["session_id"] == order["session_id"]


def test_money_of_an_order_adds_up_to_the_cent(documents: Documents) -> None:
    def number(value: Any) -> Decimal:
        return Decimal(value) if isinstance(value, int) else value.to_decimal()

    for order in documents["orders"]:
        items = order["items"]
        assert sum(item["quantity"] * number(item["unit_price"]) for item in items) == number(order["subtotal"])
        assert sum(number(item["discount"]) for item in items) == number(order["discount"])
        total = number(order["subtotal"]) - number(order["discount"]) + number(order["shipping"])
        assert number(order["total"]) == total
        assert sum(number(payment["amount"]) for payment in order["payments"]) == total
        assert sum(number(refund["amount"]) for refund in order["refunds"]) <= total


def test_what_came_back_is_a_part_of_its_order() -> None:
    shop = Size(customers=2_000, days=60, end_date=SHOP.until).shop()
    refunds = [(order, refund) for order in shop.documents("orders") for refund in order["refunds"]]
    assert {"items" in refund for _, refund in refunds} == {True, False}
    whole = set()
    for order, refund in refunds:
        returned = refund.get("items", [])
        assert bool(returned) == (order["status"] != "cancelled")
        assert len({item["position"] for item in returned}) == len(returned)
        for item in returned:
            sold = order["items"][item["position"]]
            assert item["product_id"] == sold["product_id"]
            assert 1 <= item["quantity"] <= sold["quantity"]
            assert item["amount"].to_decimal() <= sold["total"].to_decimal()
        if returned:
            paid_back = refund["amount"].to_decimal() - sum(item["amount"].to_decimal() for item in returned)
            # All of an order comes back with its shipping; a part of it comes back alone.
            shipping = Decimal(str(order["shipping"]))
            assert paid_back in (shipping, 0)
            whole.add(len(returned) == len(order["items"]))
    assert whole == {True, False}


def test_realistic_variety(documents: Documents) -> None:
    shapes = {type(order["shipping"]).__name__ for order in documents["orders"]}
    assert shapes == {"int", "Decimal128"}
    assert {"phone" in customer for customer in documents["customers"]} == {True, False}
    assert len(Counter(order["status"] for order in documents["orders"])) >= 4


def test_ad_spend_relates_to_the_visits_that_the_campaign_brought(documents: Documents) -> None:
    visits: dict[tuple[str, date], int] = defaultdict(int)
    for event in documents["events"]:
        if "utm" in event:
            visits[event["utm"].get("campaign", ""), event["at"].date()] += 1
    rows = list(ad_spend(SHOP))
    assert sum(row.clicks for row in rows) > 100
    clicks: dict[tuple[str, date], int] = defaultdict(int)
    for row in rows:
        clicks[row.campaign.touch.campaign or "", row.day] += row.clicks
        assert row.impressions > row.clicks
        assert (row.spend > 0) == (row.clicks > 0)
    # A mail bears the name of one of the campaigns: its visits cost no clicks.
    assert all(count >= visits[key] for key, count in clicks.items() if key[0] != "search_brand")


def test_the_last_three_days_of_spend_are_restated() -> None:
    first, final = (list(ad_spend(SHOP, final=final)) for final in (False, True))
    changed = {new.day for old, new in zip(first, final, strict=True) if old != new}
    assert changed and changed <= {LAST_DAY - timedelta(days=days) for days in range(3)}


def test_two_years_have_a_season_guests_and_three_currencies() -> None:
    shop = Size(customers=900, end_date=LAST_DAY).shop()
    orders = list(shop.documents("orders"))
    months = Counter(order["placed_at"].month for order in orders)
    assert months[12] > 1.5 * months[7]
    assert {order["currency"] for order in orders} == {"EUR", "CHF", "GBP"}
    guests = sum("customer_id" not in order for order in orders)
    assert 0.05 < guests / len(orders) < 0.2


def test_advertising_and_goods_of_the_demo_earn_money() -> None:
    """At the size that the demo has: at a smaller one, a click per ad and day is more than visits need."""
    shop = Size(end_date=LAST_DAY).shop()
    bought = {campaign.touch for campaign in shop.campaigns}
    euros = {"EUR": 1.0, "CHF": 1 / 0.94, "GBP": 1 / 0.84}
    earned: dict[bool, float] = defaultdict(float)
    for visit in shop.all_visits():
        if visit.order is None:
            continue
        order = shop.order(visit)
        if order["status"] != "cancelled" and "test" not in order:
            kept = order["total"].to_decimal() - sum(one["amount"].to_decimal() for one in order["refunds"])
            earned[visit.touch in bought] += float(kept) / 1.19 * euros[order["currency"]]
    spend = float(sum(row.spend for row in ad_spend(shop)))
    assert 3 < earned[True] / spend < 5
    margins = [1 - product.cost_cents / (product.price_cents / 1.19) for product in shop.catalogue]
    assert min(margins) > 0.1 and 0.3 < sum(margins) / len(margins) < 0.6


def test_ad_spend_files_hold_every_campaign_day_once_and_are_left_alone_when_right(tmp_path: Path) -> None:
    paths = write_ad_spend(tmp_path, ad_spend(SHOP))
    rows = list(ad_spend(SHOP))
    lines = {path: list(csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines())) for path in paths}
    assert sum(map(len, lines.values())) == len(rows)
    google = sum(int(line["cost_micros"]) for path in paths for line in lines[path] if path.parent.name == "google_ads")
    assert google == sum(int(row.spend * 1_000_000) for row in rows if row.campaign.platform == "google_ads")
    before = {path: path.stat().st_mtime_ns for path in paths}
    write_ad_spend(tmp_path, ad_spend(SHOP))
    assert {path: path.stat().st_mtime_ns for path in paths} == before


def test_an_unknown_collection_is_named() -> None:
    with pytest.raises(ValueError, match="'carts'"):
        SHOP.documents("carts")
