"""Reports of the sample against computations of their own: Polars and plain Python, and `lifetimes`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import psycopg
import pytest
from bson import Decimal128
from pydantic import SecretStr

from infra.sample import COLLECTIONS, Size, ad_spend, write_ad_spend, write_rates
from tasks import dbt
from tasks.settings import Settings
from tests.command import rows as fetch
from tests.integration.dbt import by_hand

SHOP = Size(customers=220, days=400, seed=5, end_date=date(2026, 3, 31)).shop()
ZONE = ZoneInfo("Europe/Berlin")


@pytest.fixture(scope="module")
def url(module_postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The sample, built once; the fixture checks that all data tests pass on it."""
    home = tmp_path_factory.mktemp("truth")
    write_ad_spend(home / "ads", ad_spend(SHOP))
    with psycopg.connect(module_postgres_url) as connection:
        by_hand.load_shop(connection, {name: list(SHOP.documents(name)) for name in COLLECTIONS})
        by_hand.load_ads(connection, home / "ads")
        by_hand.load_rates(connection, write_rates(home / "rates", SHOP))
    settings = Settings(url=SecretStr(module_postgres_url), home=home)
    dbt.run(settings, variables={"reporting_timezone": "Europe/Berlin", "own_domains": ["shop.example"]}).check()
    yield module_postgres_url


def frame(url: str, query: str) -> pl.DataFrame:
    with psycopg.connect(url) as connection:
        cursor = connection.execute(query.encode())
        assert cursor.description is not None
        return pl.DataFrame(cursor.fetchall(), schema=[column.name for column in cursor.description], orient="row")


def number(value: Any) -> Decimal:
    return value.to_decimal() if isinstance(value, Decimal128) else Decimal(value)


def sales() -> Iterator[dict[str, Any]]:
    for order in SHOP.documents("orders"):
        if order["status"] != "cancelled" and not order.get("test"):
            yield order


def buyer(order: dict[str, Any]) -> str:
    return str(order.get("customer_id") or order["email"])


def test_attribution_is_that_of_a_computation_of_its_own(url: str) -> None:
    """Visits by the generator's own people, weights by the published formulas in floats."""
    owner = {}
    visits: dict[str, list[tuple[datetime, str]]] = defaultdict(list)
    names = {order["session_id"]: buyer(order) for order in SHOP.documents("orders")}
    sessions: dict[str, dict[str, Any]] = {}
    seen: dict[str, set[str]] = defaultdict(set)
    for event in SHOP.documents("events"):
        found = sessions.setdefault(
            event["session_id"], {"start": event["at"], "browser": event["visitor_id"], "who": None}
        )
        found["start"] = min(found["start"], event["at"])
        found["bot"] = "user_agent" in event["device"]
        if event.get("customer_id"):
            found["who"] = str(event["customer_id"])
    for session, found in sessions.items():
        for who in (found["who"], names.get(session)):
            if who:
                seen[found["browser"]].add(who)
    for session, found in sessions.items():
        people = seen[found["browser"]]
        who = found["who"] or (next(iter(people)) if len(people) == 1 else None)
        owner[session] = who
        if who and not found["bot"]:
            visits[who].append((found["start"], session))
    direct = {session for (session,) in fetch(url, "select session_id from gold.fct_session where source = '(direct)'")}

    expected: dict[tuple[str, str, str], float] = {}
    for order in sales():
        placed = order["placed_at"]
        path = sorted(visit for visit in visits[buyer(order)] if placed - timedelta(days=30) <= visit[0] <= placed)
        keys = [session for _, session in path]
        assert keys, "every order of the sample has a visit of its own"
        count = len(keys)
        decay = [0.5 ** ((placed - start).total_seconds() / 3600 / 168) for start, _ in path]
        middle = 0.2 / (count - 2) if count > 2 else 0.0
        weights = {
            "first_touch": [float(n == 0) for n in range(count)],
            "last_touch": [float(n == count - 1) for n in range(count)],
            "linear": [1 / count] * count,
            "position": [1.0] if count == 1 else [0.5, 0.5] if count == 2 else [0.4, *[middle] * (count - 2), 0.4],
            "time_decay": [value / sum(decay) for value in decay],
        }
        last = max((n for n, key in enumerate(keys) if key not in direct), default=count - 1)
        weights["last_non_direct"] = [float(n == last) for n in range(count)]
        for model, values in weights.items():
            expected |= {
                (str(order["_id"]), key, model): value for key, value in zip(keys, values, strict=True) if value
            }
    found_weights = {
        row[:3]: float(row[3])
        for row in fetch(
            url,
            "select a.order_id, t.session_id, a.attribution_model, a.weight from gold.fct_attribution a "
            "join gold.fct_touchpoint t using (touchpoint_id)",
        )
    }
    assert found_weights.keys() == expected.keys()
    assert max(abs(found_weights[key] - value) for key, value in expected.items()) < 1e-9
    assert len({key[:2] for key in expected}) > 1.5 * len({key[0] for key in expected})


def test_revenue_by_day_is_that_of_polars(url: str) -> None:
    rates = {
        (day, currency): rate
        for day, currency, rate in fetch(url, "select date_day, currency, rate from gold.fct_exchange_rate")
    }
    rows = [
        (order["placed_at"].astimezone(ZONE).date(), order["currency"], number(order["total"]) - number(order["tax"]))
        for order in sales()
    ]
    orders = pl.DataFrame(
        [(day, round(amount * rates[day, currency], 2)) for day, currency, amount in rows],
        schema={"date_day": pl.Date, "revenue": pl.Decimal(18, 2)},
        orient="row",
    )
    expected = orders.group_by("date_day").agg(pl.col("revenue").sum()).sort("date_day")
    found = fetch(url, "select date_day, revenue from gold.rpt_sales_daily where orders > 0 order by 1")
    assert [(day, Decimal(value)) for day, value in expected.rows()] == found


def test_cohorts_and_lifetime_value_are_those_of_polars(url: str) -> None:
    orders = frame(
        url,
        "select customer_id, date_trunc('month', ordered_on)::date as month, net_revenue from gold.fct_order "
        "where is_counted and customer_id <> 'unknown'",
    ).with_columns(pl.col("month").min().over("customer_id").alias("cohort"))
    size = dict(orders.group_by("cohort").agg(pl.col("customer_id").n_unique()).rows())
    active = {
        (cohort, month): (customers, revenue)
        for cohort, month, customers, revenue in orders.group_by("cohort", "month")
        .agg(pl.col("customer_id").n_unique(), pl.col("net_revenue").sum())
        .rows()
    }
    running: dict[date, Decimal] = defaultdict(Decimal)
    rows = fetch(
        url,
        "select cohort_month, month_number, month_start, c.cohort_size, active_customers, c.net_revenue, ltv_revenue "
        "from gold.rpt_customer_cohort c join gold.rpt_customer_ltv l using (cohort_month, month_number) order by 1, 2",
    )
    assert len(rows) > 80
    for cohort, number_of_month, month, customers, still, revenue, value in rows:
        assert number_of_month == 12 * (month.year - cohort.year) + month.month - cohort.month
        assert customers == size[cohort]
        assert (still, revenue) == active.get((cohort, month), (0, 0))
        running[cohort] += revenue
        assert value == (running[cohort] / customers).quantize(Decimal("0.0001"), ROUND_HALF_UP)


def test_a_cohort_is_paid_back_in_the_first_month_whose_margin_covers_its_spend(url: str) -> None:
    spend = dict(
        fetch(url, "select date_trunc('month', spent_on)::date, sum(spend) from gold.fct_ad_spend_daily group by 1")
    )
    running: dict[date, Decimal] = defaultdict(Decimal)
    expected: dict[date, int | None] = dict.fromkeys(spend)
    for cohort, month, margin in fetch(
        url, "select cohort_month, month_number, margin from gold.rpt_customer_cohort order by 1, 2"
    ):
        running[cohort] += margin
        if cohort in spend and expected[cohort] is None and running[cohort] >= spend[cohort]:
            expected[cohort] = month
    rows = fetch(
        url,
        "select month_start, payback_months, round(net_revenue / spend, 4) = marketing_efficiency_ratio, "
        "round(spend / nullif(new_customers, 0), 4) is not distinct from blended_acquisition_cost "
        "from gold.rpt_marketing_efficiency where spend > 0",
    )
    assert {month: paid_back for month, paid_back, *_ in rows} == expected
    assert len(set(expected.values())) > 1
    assert {tuple(ratios) for _, _, *ratios in rows} == {(True, True)}


def test_repeat_purchases_are_those_of_lifetimes(url: str) -> None:
    import pandas as pd
    from lifetimes.utils import summary_data_from_transaction_data

    purchases = pd.DataFrame(
        fetch(url, "select customer_id, ordered_on, net_revenue::float from gold.fct_order where is_counted"),
        columns=["customer", "day", "amount"],
    )
    expected = summary_data_from_transaction_data(purchases, "customer", "day", monetary_value_col="amount")
    found = fetch(url, "select customer_id, frequency, recency, t, monetary_value from gold.rpt_rfm")
    assert len(found) == len(expected) > 100
    for customer, frequency, recency, t, amount in found:
        row = expected.loc[customer]
        assert (frequency, recency, t) == (row["frequency"], row["recency"], row["T"])
        assert float(amount) == pytest.approx(row["monetary_value"], abs=1e-6)


def test_scores_are_those_of_polars(url: str) -> None:
    """A fifth for each fifth of the others that a customer is ahead of."""
    orders = frame(
        url,
        "select customer_id, ordered_on, net_revenue from gold.fct_order where is_counted and customer_id <> 'unknown'",
    )
    end = orders["ordered_on"].max()
    customers = orders.group_by("customer_id").agg(
        -(pl.lit(end) - pl.col("ordered_on").max()).dt.total_days().alias("recency_score"),
        pl.col("ordered_on").n_unique().cast(pl.Int64).alias("frequency_score"),
        pl.col("net_revenue").sum().alias("monetary_score"),
    )
    ahead_of = [
        pl.min_horizontal(5 * (pl.col(name).rank("min").cast(pl.Int64) - 1) // (customers.height - 1), 4).alias(name)
        + 1
        for name in ("recency_score", "frequency_score", "monetary_score")
    ]
    expected = customers.select("customer_id", *ahead_of).sort("customer_id")
    query = "select customer_id, recency_score, frequency_score, monetary_score from gold.rpt_rfm"
    assert sorted(fetch(url, query)) == expected.rows()
    assert {score for row in expected.rows() for score in row[1:]} == {1, 2, 3, 4, 5}


def test_spend_is_that_of_bronze_and_of_the_platforms_ledger(url: str) -> None:
    ledger: dict[str, Decimal] = defaultdict(Decimal)
    places = {"meta_ads": "0.01", "tiktok_ads": "0.01"}
    for row in ad_spend(SHOP):
        ledger[row.campaign.platform] += row.spend.quantize(Decimal(places.get(row.campaign.platform, "0.000001")))
    bronze = {
        "google_ads": fetch(url, "select sum(cost_micros) / 1000000 from bronze.ads__google_ads")[0][0],
        "meta_ads": fetch(url, "select sum(spend) from bronze.ads__meta_ads")[0][0],
        "tiktok_ads": fetch(url, "select sum(spend) from bronze.ads__tiktok_ads")[0][0],
        "linkedin_ads": fetch(url, 'select sum("costInLocalCurrency") from bronze.ads__linkedin_ads')[0][0],
    }
    gold = dict(fetch(url, "select platform, sum(spend) from gold.fct_ad_spend_daily group by 1"))
    assert gold == bronze == ledger
    assert fetch(url, "select sum(spend) from gold.rpt_channel_performance_daily") == [(sum(ledger.values()),)]


def test_weeks_and_months_are_sums_of_days_and_their_ratios_those_of_the_sums(url: str) -> None:
    days = frame(
        url,
        "select date_trunc('month', date_day)::date as period, channel_id, sessions, orders::float, spend::float, "
        "net_revenue::float from gold.rpt_channel_performance_daily",
    )
    sums = days.group_by("period", "channel_id").agg(pl.col("sessions", "orders", "spend", "net_revenue").sum())
    expected = {
        (period, channel): (sessions, orders, spend, revenue, round(revenue / spend, 4) if spend else None)
        for period, channel, sessions, orders, spend, revenue in sums.rows()
    }
    found = {
        row[:2]: row[2:]
        for row in fetch(
            url,
            "select month_start, channel_id, sessions, orders::float, spend::float, net_revenue::float, "
            "return_on_ad_spend::float from gold.rpt_channel_performance_monthly",
        )
    }
    assert found.keys() == expected.keys()
    for key, values in expected.items():
        assert found[key] == pytest.approx(values, abs=1e-4), key
    weeks = fetch(url, "select sum(sessions), sum(net_revenue)::float from gold.rpt_channel_performance_weekly")
    assert weeks == [(days["sessions"].sum(), pytest.approx(days["net_revenue"].sum()))]
