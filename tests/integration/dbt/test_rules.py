"""What gold must get right, on orders, visits and ads made by hand: each test states figures worked out on paper."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from bson import Decimal128
from pydantic import SecretStr

from tasks import dbt
from tasks.settings import Settings
from tests.integration.dbt import by_hand

VARIABLES = {"reporting_timezone": "Europe/Berlin", "own_domains": ["shop.example"]}
Row = dict[str, Any]


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def money(text: str) -> Decimal128:
    return Decimal128(text)


def order(key: str, placed: str, *lines: tuple[str, int, str], **more: Any) -> Row:
    """An order of `(product, quantity, price)` lines without shipping, of which `tax` is VAT."""
    items = [
        {
            "product_id": product,
            "quantity": quantity,
            "unit_price": money(price),
            "discount": money("0"),
            "total": money(str(quantity * Decimal(price))),
        }
        for product, quantity, price in lines
    ]
    total = sum((number(item["total"]) for item in items), Decimal(0))
    row: Row = {
        "_id": key,
        "order_number": f"N-{key}",
        "customer_id": "ann",
        "status": "paid",
        "currency": "EUR",
        "items": items,
        "subtotal": money(str(total)),
        "discount": money("0"),
        "shipping": money("0"),
        "tax": money("0"),
        "total": money(str(total)),
        "payments": [{"method": "card", "amount": money(str(total)), "status": "captured", "paid_at": at(placed)}],
        "placed_at": at(placed),
        "updated_at": at(placed),
    }
    row |= more
    return {name: value for name, value in row.items() if value is not None}


def number(value: Any) -> Decimal:
    return value.to_decimal() if isinstance(value, Decimal128) else Decimal(value)


def visit(
    session: str, start: str, *kinds: str, visitor: str = "", customer: str | None = None, **landing: Any
) -> Iterator[Row]:
    """The events of a visit, a minute apart; `landing` belongs to the first."""
    for position, kind in enumerate(kinds or ("page_view",)):
        moment = at(start) + timedelta(minutes=position)
        event: Row = {
            "_id": f"{session}-{position}",
            "session_id": session,
            "visitor_id": visitor or f"browser-{session}",
            "type": kind,
            "at": moment,
            "updated_at": moment,
            "url": "https://shop.example/p",
        }
        if customer:
            event["customer_id"] = customer
        yield event | (landing if position == 0 else {})


def utm(source: str, medium: str | None = None, campaign: str | None = None) -> Row:
    return {
        "utm": {key: value for key, value in (("source", source), ("medium", medium), ("campaign", campaign)) if value}
    }


CUSTOMERS = [
    {
        "_id": "ann",
        "email": "Ann@mail.example",
        "name": {"first": "Ann", "last": "A"},
        "created_at": at("2025-01-01"),
        "updated_at": at("2025-01-01"),
        "address": {"zip": 1067, "country": "DE", "city": "Dresden"},
        "birth_date": at("1990-05-17"),
    },
    {
        "_id": "bob",
        "email": "",
        "created_at": at("2025-01-01"),
        "updated_at": at("2025-01-01"),
        "address": {"zip": 1010, "country": "AT", "city": "Wien"},
    },
    {
        "_id": "cat",
        "email": "",
        "created_at": at("2025-01-01"),
        "updated_at": at("2025-01-01"),
        "address": {"zip": "SW1A 1AA", "country": "GB", "city": "London"},
    },
    {
        "_id": "dan",
        "email": "dan@mail.example",
        "created_at": at("2025-01-01"),
        "updated_at": at("2025-01-01"),
        "address": {"zip": "123", "country": "IE"},
    },
]
PRODUCTS = [
    {
        "_id": "pan",
        "sku": "PAN",
        "name": "Pan",
        "category": {"main": "Kitchen"},
        "price": money("60"),
        "cost": money("20"),
        "currency": "EUR",
        "active": True,
        "created_at": at("2025-01-01"),
        "updated_at": at("2025-01-01"),
    },
    {
        "_id": "pen",
        "sku": "PEN",
        "name": "Pen",
        "category": {"main": "Office"},
        "price": money("1"),
        "cost": money("0.5"),
        "currency": "USD",
        "active": True,
        "created_at": at("2025-01-01"),
        "updated_at": at("2025-01-01"),
    },
]
ORDERS = [
    # 119.00 with 19.00 VAT, of which half came back later, as an object and not as an array.
    order(
        "half",
        "2026-03-02T10:00",
        ("pan", 2, "59.50"),
        tax=money("19.00"),
        session_id="s-half",
        refunds={"amount": money("59.50"), "reason": "damaged", "refunded_at": at("2026-04-05T10:00")},
    ),
    # 100 dollars on a Saturday: Friday's rate of 1.25 dollars a euro holds.
    order("dollars", "2026-03-07T12:00", ("pan", 1, "100.00"), currency="USD", customer_id="bob"),
    order("pounds", "2026-03-06T12:00", ("pan", 1, "80.00"), currency="GBP", customer_id="cat"),
    # Neither is a sale.
    order("test", "2026-03-03T10:00", ("pan", 1, "10.00"), test=True),
    order(
        "void",
        "2026-03-03T11:00",
        ("pan", 1, "10.00"),
        status="cancelled",
        refunds=[{"amount": money("10.00"), "refunded_at": at("2026-03-03T12:00")}],
    ),
    # Just before midnight in UTC, past it in Berlin.
    order("late", "2026-03-31T22:30", ("pen", 3, "1.00"), customer_id="ann", discount=money("0.00")),
    # Guests: one is Ann by her address, one is nobody's, one has no address at all.
    order("guest-ann", "2026-03-08T10:00", ("pen", 1, "5.00"), customer_id=None, email=" ann@MAIL.example "),
    order("guest-eve", "2026-03-08T11:00", ("pen", 1, "5.00"), customer_id=None, email="eve@mail.example"),
    order("nobody", "2026-03-08T12:00", ("pen", 1, "5.00"), customer_id=" ", email=" "),
    order(
        "ghost",
        "2026-03-08T13:00",
        ("pen", 1, "5.00"),
        customer_id="gone",
        items=[
            {
                "product_id": "sold-out",
                "quantity": 1,
                "unit_price": money("5"),
                "discount": money("0"),
                "total": money("5"),
            }
        ],
    ),
    # Three items of an order whose revenue does not divide by three: 100.00 less 0.01 VAT; refunded in three parts.
    order(
        "thirds",
        "2026-03-09T10:00",
        ("pan", 1, "33.33"),
        ("pen", 1, "33.33"),
        ("pen", 1, "33.34"),
        tax=money("0.01"),
        refunds=[
            {"amount": money("33.33"), "refunded_at": at("2026-03-10")},
            {"amount": money("33.33"), "refunded_at": at("2026-03-11")},
            {"amount": money("33.34"), "refunded_at": at("2026-03-12")},
        ],
    ),
    # Shipping is revenue too, net of VAT.
    order(
        "shipped",
        "2026-03-12T10:00",
        ("pan", 1, "114.10"),
        customer_id="dan",
        shipping=money("4.90"),
        shipping_address={"zip": "1067", "country": "de", "city": "Dresden"},
        tax=money("19.00"),
        total=money("119.00"),
    ),
    # Each of these breaks a rule, and only these are left out.
    order("no-day", "2026-03-01", ("pan", 1, "1.00"), placed_at=None),
    order("no-total", "2026-03-01", ("pan", 1, "1.00"), total=None),
    order("no-rate", "2026-03-01", ("pan", 1, "1.00"), currency="XXX"),
    order("no-sum", "2026-03-01", ("pan", 1, "1.00"), total=money("2.00")),
]
EVENTS = [
    *visit(
        "s-half",
        "2026-03-02T09:50",
        "page_view",
        "product_view",
        "add_to_cart",
        "checkout",
        "purchase",
        visitor="b1",
        customer="ann",
        **utm("google", "cpc", "search_brand"),
    ),
    *visit("s-direct", "2026-03-01T09:00", visitor="b1"),
    *visit("s-mail", "2026-02-20T09:00", visitor="b1", **utm("newsletter", "email", "spring")),
    # Two people on one browser: what either did not log in for is nobody's.
    *visit("shared-1", "2026-03-01T08:00", visitor="b2", customer="bob"),
    *visit("shared-2", "2026-03-01T09:00", visitor="b2", customer="cat"),
    *visit("shared-3", "2026-03-01T10:00", visitor="b2", **utm("bing", "cpc")),
    # Payment page and own pages are never where a visit came from.
    *visit("pay", "2026-03-01T10:00", referrer="https://www.paypal.com/checkout"),
    *visit("own", "2026-03-01T10:00", referrer="https://blog.shop.example/x"),
    # Nor is a later referrer.
    *[
        {**event, "referrer": "https://news.example/"} if event["_id"] == "first-1" else event
        for event in visit("first", "2026-03-01T10:00", "page_view", "page_view")
    ],
    *visit("gclid", "2026-03-01T10:00", url="https://shop.example/?gclid=abc", referrer="https://www.google.com/"),
    *visit("ttclid", "2026-03-01T10:00", url="https://shop.example/?x=1&ttclid=E.C.P"),
    *visit("fbclid", "2026-03-01T10:00", url="https://shop.example/?fbclid=1", referrer="https://m.facebook.com/"),
    *visit("empty-click", "2026-03-01T10:00", url="https://shop.example/?gclid=&x=1"),
    *visit("msclkid", "2026-03-01T10:00", url="https://shop.example/?msclkid=1"),
    *visit("li", "2026-03-01T10:00", url="https://shop.example/?li_fat_id=1"),
    *visit(
        "gbraid", "2026-03-01T10:00", url="https://shop.example/?gbraid=1", **utm("google", "cpc", "winter_shopping")
    ),
    *visit("host", "2026-03-01T10:00", referrer="https://de.search.yahoo.com/"),
    *visit("mobile", "2026-03-01T10:00", referrer="https://m.facebook.com/"),
    *visit("lnkd", "2026-03-01T10:00", referrer="https://lnkd.in/abc"),
    *visit("medium-only", "2026-03-01T10:00", utm={"source": "", "medium": "Email"}),
    # Over midnight in Berlin: the visit is of the fourth, the look at a product of the fifth.
    *visit("night", "2026-03-04T22:59", "page_view", "product_view", device={"type": "mobile"}),
    # Links that say in one word what others say in two.
    *visit("slash", "2026-03-01T10:00", **utm("a / b", "c")),
    *visit("slashes", "2026-03-01T10:00", **utm("a", "b / c")),
    # A link from before the campaign got the name that it has.
    *visit("old-link", "2026-03-01T10:00", **utm("google", "cpc", "autumn_shopping")),
    *visit("bot", "2026-03-01T10:00", device={"user_agent": "Mozilla/5.0 (compatible; Googlebot/2.1)"}),
    # Same name as a paid campaign, but a mail: no spend belongs to it.
    *[
        event
        for n in range(9)
        for event in visit(f"mail-{n}", "2026-03-02T10:00", **utm("newsletter", "email", "search_brand"))
    ],
]
RATES = [
    {"_id": "2026-02-27", "Date": date(2026, 2, 27), "USD": Decimal("2"), "GBP": Decimal("0.8"), "HRK": Decimal("7.5")},
    {"_id": "2026-03-06", "Date": date(2026, 3, 6), "USD": Decimal("1.25"), "GBP": Decimal("0.8")},
    {"_id": "2026-03-09", "Date": date(2026, 3, 9), "USD": Decimal("1.60"), "GBP": "N/A"},
    *(
        {"_id": f"2026-04-{day:02}", "Date": date(2026, 4, day), "USD": Decimal("1.60"), "GBP": Decimal("0.8")}
        for day in (1, 2, 3, 7)
    ),
]
GOOGLE = [
    {
        "_id": f"g{n}",
        "segments_date": date(2026, 3, 2),
        "customer_id": account,
        "campaign_id": campaign,
        "campaign_name": name,
        "ad_group_id": f"ag{n}",
        "ad_id": f"ad{n}",
        "currency": currency,
        "impressions": 100,
        "clicks": 10,
        "cost_micros": micros,
        "conversions": 1,
        "conversions_value": Decimal("50"),
    }
    for n, (account, campaign, name, currency, micros) in enumerate(
        [
            ("1", "11", "search_brand", "EUR", 40_000_001),
            ("2", "11", "search_brand", "EUR", 10_000_000),
            ("1", "12", "winter_shopping", "EUR", 5_000_000),
            ("3", "13", "us", "USD", 8_000_000),
        ]
    )
]
GOOGLE.append(GOOGLE[2] | {"_id": "g9", "segments_date": date(2026, 3, 1), "campaign_name": "autumn_shopping",
                           "ad_group_id": "ag9", "ad_id": "ad9", "cost_micros": 0})  # fmt: skip


@pytest.fixture(scope="module")
def gold(module_postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[psycopg.Connection[Any]]:
    """A warehouse with all of it, built once; the data tests pass on it."""
    home = tmp_path_factory.mktemp("rules")
    with psycopg.connect(module_postgres_url) as connection:
        by_hand.load_documents(connection, "shop", "customers", CUSTOMERS, rescue={"address.zip": int})
        by_hand.load_documents(connection, "shop", "products", PRODUCTS)
        by_hand.load_documents(connection, "shop", "orders", ORDERS, ("items", "payments"))
        by_hand.load_documents(connection, "shop", "events", EVENTS)
        by_hand.load_documents(connection, "rates", "ecb", RATES, rescue={"GBP": Decimal})
        by_hand.load_documents(connection, "ads", "google_ads", GOOGLE)
        # Days are never those of the server.
        connection.execute(f"alter database \"{connection.info.dbname}\" set timezone = 'America/New_York'".encode())
        connection.commit()
    settings = Settings(url=SecretStr(module_postgres_url), home=home)
    result = dbt.run(settings, variables=VARIABLES)
    assert result.success, result.failure()
    with psycopg.connect(module_postgres_url, autocommit=True) as connection:
        yield connection


def rows(gold: psycopg.Connection[Any], query: str) -> list[tuple[Any, ...]]:
    return gold.execute(query).fetchall()


def test_revenue_is_net_of_vat_and_refunds(gold: psycopg.Connection[Any]) -> None:
    figures = dict[str, tuple[Decimal, ...]](
        (row[0], row[1:])
        for row in rows(
            gold, "select order_id, revenue, refunded_revenue, net_revenue, shipping_revenue from gold.fct_order"
        )
    )
    assert figures["half"] == (Decimal(100), Decimal(50), Decimal(50), Decimal(0))
    assert figures["shipped"] == (Decimal(100), Decimal(0), Decimal(100), Decimal("4.12"))
    assert figures["thirds"] == (Decimal("99.99"), Decimal("99.99"), Decimal(0), Decimal(0))
    assert figures["test"] == figures["void"] == (Decimal(0),) * 4


def test_tests_and_cancelled_orders_count_nowhere(gold: psycopg.Connection[Any]) -> None:
    places = {
        "select sum(net_revenue) from gold.fct_order",
        "select sum(net_revenue_restated) from gold.rpt_sales_daily",
        "select sum(net_revenue) from gold.rpt_channel_performance_daily",
        "select sum(net_revenue) from gold.rpt_channel_performance_weekly",
        "select sum(net_revenue) from gold.rpt_channel_performance_monthly",
        "select sum(net_revenue) from gold.rpt_marketing_efficiency",
        "select sum(revenue) - (select sum(refunded_revenue) from gold.fct_refund) from gold.fct_order",
    }
    # 50 + 80 + 100 + 3 + 5 * 4 + 0 + 100
    assert {query: rows(gold, query)[0][0] for query in places} == dict.fromkeys(places, Decimal(353))
    assert rows(gold, "select sum(net_revenue) from gold.rpt_rfm") == [(Decimal(348),)]
    assert rows(gold, "select sum(net_revenue) from gold.rpt_customer_cohort") == [(Decimal(348),)]
    assert rows(gold, "select sum(orders), sum(cancelled_orders) from gold.rpt_sales_daily") == [(10, 1)]


def test_revenue_is_of_new_customers_of_returning_ones_or_of_nobody_known(gold: psycopg.Connection[Any]) -> None:
    sums = "select sum(new_customers), sum(returning_orders), sum(new_net_revenue), sum(returning_net_revenue)"
    assert rows(gold, f"{sums} from gold.rpt_sales_daily") == [(6, 3, 340, 8)]
    # The tenth order, of 5, has no customer.
    assert rows(gold, "select sum(orders), sum(net_revenue_restated) from gold.rpt_sales_daily") == [(10, 353)]


def test_a_refund_counts_on_its_own_day_and_on_the_orders(gold: psycopg.Connection[Any]) -> None:
    found = rows(
        gold,
        "select date_day, revenue, refunds, net_revenue, net_revenue_restated from gold.rpt_sales_daily "
        "where date_day in ('2026-03-02', '2026-04-05') order by 1",
    )
    assert found == [
        (date(2026, 3, 2), Decimal(100), Decimal(0), Decimal(100), Decimal(50)),
        (date(2026, 4, 5), Decimal(0), Decimal(50), Decimal(-50), Decimal(0)),
    ]


def test_a_refund_is_read_as_an_object_and_as_an_array(gold: psycopg.Connection[Any]) -> None:
    found = rows(gold, "select order_id, count(*), sum(amount) from gold.fct_refund group by 1 order by 1")
    assert found == [("half", 1, Decimal("59.5")), ("thirds", 3, Decimal(100)), ("void", 1, Decimal(10))]


def test_parts_add_up_to_the_cent(gold: psycopg.Connection[Any]) -> None:
    found = rows(
        gold, "select revenue, refunded_revenue from gold.fct_order_item where order_id = 'thirds' order by position"
    )
    assert found == [(Decimal("33.33"),) * 2, (Decimal("33.32"),) * 2, (Decimal("33.34"),) * 2]
    refunds = rows(gold, "select refunded_revenue from gold.fct_refund where order_id = 'thirds' order by refund_id")
    assert sum(part for (part,) in refunds) == Decimal("99.99")


def test_currencies_are_added_up_at_the_rate_of_their_day(gold: psycopg.Connection[Any]) -> None:
    found = dict(rows(gold, "select order_id, revenue from gold.fct_order where currency <> 'EUR'"))
    assert found == {"dollars": Decimal(80), "pounds": Decimal(100)}
    saturday = (
        "select published_on, rate from gold.fct_exchange_rate where currency = 'USD' and date_day = '2026-03-07'"
    )
    assert rows(gold, saturday) == [(date(2026, 3, 6), Decimal("0.8"))]
    # A rate that was not published on the ninth holds on from before.
    pound = "select published_on, rate from gold.fct_exchange_rate where currency = 'GBP' and date_day = '2026-03-10'"
    assert rows(gold, pound) == [(date(2026, 3, 6), Decimal("1.25"))]


def test_a_currency_that_ended_has_no_rate_for_long(gold: psycopg.Connection[Any]) -> None:
    kuna = "select min(date_day), max(date_day) from gold.fct_exchange_rate where currency = 'HRK'"
    # Left out of six publications; the pound, left out of one, goes on, and so does every currency after the last one.
    assert rows(gold, kuna) == [(date(2026, 2, 27), date(2026, 3, 6))]
    pound = "select count(*), max(date_day) >= current_date from gold.fct_exchange_rate where currency = 'GBP'"
    ((days, is_known_today),) = rows(gold, pound)
    assert is_known_today and days > (date(2026, 11, 1) - date(2026, 2, 27)).days


def test_costs_and_margins(gold: psycopg.Connection[Any]) -> None:
    found = dict(rows(gold, "select order_id, sum(cost) from gold.fct_order_item group by 1"))
    # Half of two pans of 20 came back; the pen's half dollar at 1.60 on the last of March, at 1.25 on the eighth.
    assert found["half"] == Decimal(20)
    assert found["late"] == Decimal("0.94")
    assert found["guest-eve"] == Decimal("0.40")
    assert found["thirds"] == found["test"] == found["ghost"] == 0


def test_days_are_those_of_the_reporting_time_zone(gold: psycopg.Connection[Any]) -> None:
    assert rows(gold, "select ordered_on from gold.fct_order where order_id = 'late'") == [(date(2026, 4, 1),)]
    platforms = dict(rows(gold, "select distinct platform, days_in from gold.fct_ad_spend_daily"))
    assert platforms == {"google_ads": "account"}
    assert rows(gold, "select birth_date from gold.dim_customer where customer_id = 'ann'") == [(date(1990, 5, 17),)]
    seen = "select min(date_day) from gold.fct_funnel_daily where date_day > started_on"
    night = f"select started_on, ({seen}) from gold.fct_session where session_id = 'night'"
    assert rows(gold, night) == [(date(2026, 3, 4), date(2026, 3, 5))]


def test_guests_are_found_by_their_address_and_an_empty_one_joins_nobody(gold: psycopg.Connection[Any]) -> None:
    buyers = dict(rows(gold, "select order_id, customer_id from gold.fct_order"))
    kinds = dict(rows(gold, "select customer_id, kind from gold.dim_customer where is_current"))
    assert buyers["guest-ann"] == "ann"
    assert buyers["guest-eve"].startswith("guest:") and kinds[buyers["guest-eve"]] == "guest"
    assert (buyers["nobody"], kinds["unknown"]) == ("unknown", "unknown")
    assert (buyers["ghost"], kinds["gone"]) == ("gone", "inferred")
    people = dict(rows(gold, "select customer_id, person_id from gold.dim_customer where is_current"))
    assert (people["bob"], people["cat"]) == ("bob", "cat")
    sequence = "select order_id, customer_order_number from gold.fct_order where customer_id = 'ann'"
    assert dict(rows(gold, sequence)) == {"half": 1, "guest-ann": 2, "thirds": 3, "late": 4, "test": None, "void": None}


def test_what_breaks_a_rule_is_set_aside_with_its_reason_and_the_rest_goes_on(gold: psycopg.Connection[Any]) -> None:
    assert dict(rows(gold, "select entity_id, reason from gold.rpt_quarantine where entity = 'orders'")) == {
        "no-day": "no time of the order",
        "no-total": "no total",
        "no-rate": "no exchange rate for its currency and day",
        "no-sum": "a total that is not subtotal - discount + shipping",
    }
    assert rows(gold, "select count(*) from gold.fct_order") == [(len(ORDERS) - 4,)]


def test_postal_codes_are_those_of_their_country(gold: psycopg.Connection[Any]) -> None:
    found = dict(rows(gold, "select customer_id, postal_code from gold.dim_customer where kind = 'registered'"))
    assert found == {"ann": "01067", "bob": "1010", "cat": "SW1A 1AA", "dan": "123"}
    places = (
        "select kind, city from gold.dim_customer join gold.fct_order using (geography_id) where order_id = 'shipped'"
    )
    assert rows(gold, places) == [("registered", "Dresden")]


def test_visits_come_from_where_their_first_event_says(gold: psycopg.Connection[Any]) -> None:
    found = {
        row[0]: row[1:]
        for row in rows(
            gold,
            "select session_id, source, medium, channel_group from gold.fct_session "
            "join gold.dim_channel using (channel_id, source, medium)",
        )
    }
    direct = ("(direct)", "(none)", "Direct")
    assert found["pay"] == found["own"] == found["first"] == found["empty-click"] == direct
    assert found["gclid"] == ("google", "cpc", "Paid Search")
    assert found["ttclid"] == ("tiktok", "paid_social", "Paid Social")
    assert found["fbclid"] == ("facebook", "social", "Organic Social")
    assert found["msclkid"] == ("bing", "cpc", "Paid Search")
    assert found["li"] == ("linkedin", "paid_social", "Paid Social")
    assert found["gbraid"] == ("google", "cpc", "Paid Shopping")
    assert found["host"] == ("yahoo", "organic", "Organic Search")
    assert found["mobile"] == ("m.facebook.com", "referral", "Organic Social")
    assert found["lnkd"] == ("lnkd.in", "referral", "Organic Social")
    assert found["medium-only"] == ("(not set)", "email", "Email")


def test_bots_visit_but_do_not_count(gold: psycopg.Connection[Any]) -> None:
    assert rows(gold, "select session_id from gold.fct_session where is_bot") == [("bot",)]
    sessions = len({event["session_id"] for event in EVENTS})
    assert rows(gold, "select sum(sessions) from gold.rpt_channel_performance_daily") == [(sessions - 1,)]


def test_spend_goes_to_the_platforms_channel_and_never_to_a_mail_of_the_same_name(
    gold: psycopg.Connection[Any],
) -> None:
    found = dict(
        rows(
            gold,
            "select channel_group, sum(spend) from gold.rpt_channel_performance_daily "
            "group by 1 having sum(spend) <> 0",
        )
    )
    # Eight dollars of the second of March are four euros: the rate of the end of February holds.
    assert found == {"Paid Search": Decimal("54.000001"), "Paid Shopping": Decimal(5)}
    tags = rows(gold, "select platform, campaign, matched_by from silver.int_shop__campaign_tags order by 2")
    assert tags == [
        ("google_ads", "autumn_shopping", "name"),
        ("google_ads", "search_brand", "name of several campaigns"),
        ("google_ads", "winter_shopping", "name"),
    ]
    names = "select count(distinct campaign_key), count(distinct (campaign_key, campaign_name)) from gold.dim_campaign"
    assert rows(gold, names) == [(4, 4)]


def test_return_on_ad_spend_is_net_of_vat(gold: psycopg.Connection[Any]) -> None:
    found = rows(
        gold,
        "select net_revenue, spend, return_on_ad_spend from gold.rpt_channel_performance_monthly "
        "where channel_id = 'google / cpc' and month_start = '2026-03-01'",
    )
    # Half of the first order and, six days after the same visit, five euros as a guest.
    assert found == [(Decimal(55), Decimal("54.000001"), Decimal("1.0185"))]


def test_visits_of_a_shared_browser_are_nobodys(gold: psycopg.Connection[Any]) -> None:
    touches = rows(
        gold, "select order_id, session_id from gold.fct_touchpoint where order_id in ('dollars', 'pounds') order by 1"
    )
    assert touches == [("dollars", "shared-1"), ("pounds", "shared-2")]


def test_every_model_of_attribution_on_three_visits(gold: psycopg.Connection[Any]) -> None:
    """Mail ten days before, direct a day before, then the ad in whose visit the order was placed."""
    found: dict[str, dict[str, Decimal]] = {}
    for model, source, weight in rows(
        gold, "select attribution_model, source, weight from gold.fct_attribution where order_id = 'half'"
    ):
        found.setdefault(model, {})[source] = weight
    assert found["first_touch"] == {"newsletter": 1}
    assert found["last_touch"] == found["last_non_direct"] == {"google": 1}
    assert found["position"] == {"newsletter": Decimal("0.4"), "(direct)": Decimal("0.2"), "google": Decimal("0.4")}
    assert found["linear"] == {
        source: pytest.approx(Decimal(1) / 3, abs=Decimal("1e-12")) for source in found["linear"]
    }
    assert sum(found["linear"].values()) == sum(found["time_decay"].values()) == 1
    hours = {"newsletter": 24 * 10 + 1, "(direct)": 25, "google": Decimal(1) / 6}
    decay = {source: 0.5 ** (float(value) / 168) for source, value in hours.items()}
    assert {source: pytest.approx(value / sum(decay.values()), abs=1e-9) for source, value in decay.items()} == {
        source: float(value) for source, value in found["time_decay"].items()
    }


def test_an_order_without_a_visit_is_unattributed_in_every_model(gold: psycopg.Connection[Any]) -> None:
    found = rows(
        gold, "select attribution_model, channel_id, weight from gold.fct_attribution where order_id = 'nobody'"
    )
    assert len(found) == 6
    assert {row[1:] for row in found} == {("(unattributed) / (none)", Decimal(1))}


def test_the_funnel_narrows_step_by_step(gold: psycopg.Connection[Any]) -> None:
    steps = "select step, visitors, visitors_before from gold.fct_funnel_daily"
    found = rows(gold, f"{steps} where date_day = '2026-03-02' order by step_number")
    assert found == [(step, 1, 1) for step in ("product view", "add to cart", "checkout", "purchase")]
    ways = "select date_day, channel_group, device_type, sum(visitors) from gold.fct_funnel_daily where step_number = 1"
    assert rows(gold, f"{ways} group by 1, 2, 3 order by 1") == [
        (date(2026, 3, 2), "Paid Search", "unknown", 1),
        (date(2026, 3, 5), "Direct", "mobile", 1),
    ]
