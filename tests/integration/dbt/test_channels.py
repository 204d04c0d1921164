"""Spend of the channels' own tables in silver and gold: every platform, whatever of it bronze has."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr

from infra.sample.channels.facts import Facts
from tasks import dbt
from tasks.bronze.pending import load_pending
from tasks.settings import Settings
from tests.channels import Pulls, serving
from tests.integration.dbt import by_hand
from tests.integration.dbt.test_rules import utm, visit
from tests.unit.channels.test_channels import FAKES, TABLES, TODAY, facts, source

pytestmark = pytest.mark.slow

LISTS = {
    "google_ads": ["campaign_list"],
    "meta_ads": ["campaign_list"],
    "tiktok_ads": ["campaign_list"],
    "linkedin_ads": ["campaign_group_list"],
    "microsoft_ads": ["campaign_list"],
}
DAY = date(2026, 3, 2)


class Company:
    """A warehouse whose bronze is filled by pulls of channels or by hand."""

    def __init__(self, url: str, home: Path) -> None:
        self.url, self.home = url, home
        self.settings = Settings(url=SecretStr(url), home=home, landing=str(home / "landing"))

    @contextmanager
    def channels(self, told: Facts) -> Iterator[dict[str, Pulls]]:
        """Every channel with its fake, all of them telling the same."""
        with serving(**{kind: fake(told) for kind, fake in FAKES.items()}) as url:
            made = {}
            for kind, (table, _) in TABLES.items():
                tables: dict[str, Any] = {name: {} for name in (table, *LISTS[kind])}
                given = {**source(kind, url, table), "tables": tables}
                made[kind] = Pulls(self.home, given, name=kind)
            yield made

    def read(self, pulls: Pulls, window: tuple[date, date] | None = None) -> None:
        """Read and load all tables; with days only those that have some."""
        for ref in pulls.sources.refs():
            if window and ref.table_name in LISTS[pulls.name]:
                continue
            pulls.pull(ref.table_name, window)
            load_pending(ref, self.settings)

    def put(self, source_name: str, table: str, *rows: dict[str, Any]) -> None:
        with psycopg.connect(self.url) as connection:
            by_hand.load_documents(connection, source_name, table, rows)

    def build(self, select: Sequence[str] = ("+package:warehouse_ads",), **variables: Any) -> dict[str, str]:
        """Build some models and what they read; return the state of each test and model by its name."""
        result = dbt.run(self.settings, select=select, variables=variables)
        result.check()
        return {node.name: node.status for node in result.nodes}

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url) as connection:
            return connection.execute(query.encode()).fetchall()


@pytest.fixture
def company(postgres_url: str, tmp_path: Path) -> Company:
    return Company(postgres_url, tmp_path)


def expected(told: Facts) -> dict[tuple[str, str, str, date], Decimal]:
    sums: dict[tuple[str, str, str, date], Decimal] = defaultdict(Decimal)
    for kind in FAKES:
        for account in told.accounts.values():
            for row in account.between(TODAY - timedelta(days=60), TODAY):
                sums[kind, account.id, account.currency, row.day] += row.spend
    return dict(sums)


def spent(company: Company) -> dict[tuple[str, str, str, date], Decimal]:
    rows = company.ask(
        "select platform, account_id, currency, spent_on, sum(original_spend) from gold.fct_ad_spend_daily"
        " group by 1, 2, 3, 4"
    )
    return {row[:4]: row[4] for row in rows}


def test_spend_in_gold_is_what_each_channel_said_last(company: Company) -> None:
    told = facts()
    with company.channels(told) as channels:
        for pulls in channels.values():
            company.read(pulls)
        company.build()
        assert spent(company) == expected(told)
        # Meta, LinkedIn and TikTok tell an objective or a name in their lists only.
        names = company.ask("select platform, campaign_id, campaign_name from gold.dim_campaign group by 1, 2, 3")
        assert set(names) == {(kind, str(n), f"c{n}") for kind in FAKES for n in (1, 2, 3)}
        objective = "select distinct platform, objective from gold.dim_campaign where platform in {} order by 1"
        said = [("google_ads", "SEARCH"), ("microsoft_ads", "Search")]
        assert company.ask(objective.format(("google_ads", "microsoft_ads"))) == said
        assert company.ask("select distinct is_provisional from gold.fct_ad_spend_daily") == [(True,)]

        # A day is restated, a row vanishes, and when the lookback is over the days are final.
        first = next(iter(told.accounts.values()))
        for row in list(first.between(TODAY - timedelta(days=1), TODAY - timedelta(days=1))):
            row.spend = Decimal("7.77")
        first.drop(TODAY - timedelta(days=2), "3")
        for pulls in channels.values():
            pulls.clock.sleep(timedelta(days=40).total_seconds())
            company.read(pulls, (TODAY - timedelta(days=2), TODAY))
        company.build()
        assert spent(company) == expected(told)
        assert company.ask("select distinct is_provisional from gold.fct_ad_spend_daily") == [(False,)]


def test_one_table_of_a_platform_is_read_and_days_that_are_left_out_are_told(company: Company) -> None:
    company.put(
        "ads",
        "google_ads",
        google("old", 5_000_000, customer_id="1", segments_date=DAY - timedelta(days=400)),
        google("csv", 3_000_001, customer_id="1"),
    )
    assert company.build()["no_day_of_spend_is_left_out"] == "pass"
    # Files tell nothing of whether days are final, and a platform without a table has no rows.
    assert company.ask("select platform, spend, is_provisional from gold.fct_ad_spend_daily order by 2") == [
        ("google_ads", Decimal("3.000001"), None),
        ("google_ads", Decimal(5), None),
    ]
    company.put("google_ads", "ads", google("ad", 2_000_000, account_id="1", ad_group_id="7", ad_group_ad_ad_id="9"))
    company.put("google_ads", "campaigns", google("campaign", 4_000_000, account_id="1"))
    told = "select spend::int, ad_id from gold.fct_ad_spend_daily order by 1"
    assert company.build()["no_day_of_spend_is_left_out"] == "warn"
    assert company.ask(told) == [(4, None)]
    assert company.build(ads_tables={"google_ads": "google_ads.ads"})["no_day_of_spend_is_left_out"] == "pass"
    assert company.ask(told) == [(2, "9")]
    company.build(ads_tables={"google_ads": "ads.google_ads"})
    assert company.ask(told) == [(3, None), (5, None)]


def test_ads_find_their_campaign_by_the_lists_of_the_channel(company: Company) -> None:
    spend = {"account_id": "1", "date": DAY, "currency": "EUR", "costInLocalCurrency": Decimal("1.5"), "clicks": 1}
    company.put(
        "linkedin_ads",
        "creatives",
        {"_id": "a", "creative_id": "31", **spend},
        {"_id": "b", "creative_id": "32", **spend},
    )
    found = "select ad_id, ad_group_id, campaign_id, campaign_name, spend from gold.fct_ad_spend_daily order by 1"
    company.build()
    # Money is not lost where nobody knows whose it is.
    assert company.ask(found) == [
        ("31", None, "unknown", None, Decimal("1.5")),
        ("32", None, "unknown", None, Decimal("1.5")),
    ]

    urn = "urn:li:sponsoredCampaign"
    listed = {"account_id": "1", "status": "ACTIVE"}
    company.put("linkedin_ads", "creative_list", {"_id": "a", "id": "31", "campaign": f"{urn}:21", **listed})
    company.put(
        "linkedin_ads",
        "campaign_list",
        {"_id": "a", "id": "21", "name": "group", "campaignGroup": f"{urn}Group:11", **listed},
    )
    company.put("linkedin_ads", "campaign_group_list", {"_id": "a", "id": "11", "name": "spring", **listed})
    company.build()
    assert company.ask(found) == [
        ("31", "21", "11", "spring", Decimal("1.5")),
        ("32", None, "unknown", None, Decimal("1.5")),
    ]
    assert company.ask(
        "select campaign_name, campaign_status, ad_group_name from gold.dim_campaign where ad_id = '31'"
    ) == [("spring", "ACTIVE", "group")]


def test_reports_count_the_visits_of_one_source(company: Company) -> None:
    report = {
        "account_id": "1",
        "date": DAY,
        "session_source": "Google",
        "session_medium": "cpc",
        "property_currency": "EUR",
    }
    company.put(
        "ga4",
        "sessions",
        {"_id": "a", "session_campaign_name": "spring", "sessions": 5, "purchase_revenue": Decimal("9.99"), **report},
        {"_id": "b", "session_campaign_name": "(other)", "is_other_row": True, "sessions": 2, **report},
    )
    report_of = ["+rpt_channel_performance_daily", "+fct_web_analytics_daily"]
    visits = "select channel_id, channel_group, sessions from gold.rpt_channel_performance_daily"
    company.build(report_of)
    assert company.ask(visits) == [("google / cpc", "Paid Search", 7)]
    assert company.ask("select sum(purchase_revenue), bool_or(is_other_row) from gold.fct_web_analytics_daily") == [
        (Decimal("9.99"), True)
    ]
    company.put("shop", "events", *visit("s", "2026-03-02T10:00", **utm("google", "cpc", "spring")))
    company.build(report_of)
    assert company.ask(visits) == [("google / cpc", "Paid Search", 1)]
    company.build(report_of, sessions_from="ga4")
    assert company.ask(visits) == [("google / cpc", "Paid Search", 7)]


def google(key: str, micros: int, **more: Any) -> dict[str, Any]:
    return {
        **{"_id": key, "segments_date": DAY, "campaign_id": "11", "campaign_name": "spring", "currency": "EUR"},
        **{"impressions": 9, "clicks": 1, "cost_micros": micros, "conversions": Decimal("0.5")},
        **more,
    }
