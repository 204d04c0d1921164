"""The sample's channels: fakes that tell the generator's spend and visits at every level, and what replaces them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from infra.sample import Shop, Size, ad_spend, told, write_spend, write_visits
from infra.sample.channels.__main__ import serve
from infra.sample.shop import ZONE
from tasks.landing import AccountDaysScope
from tests.channels import NOW, Pulls

LAST_DAY = NOW.date()
SHOP = Size(customers=120, days=40, seed=3, end_date=datetime(2026, 11, 24, 12, tzinfo=UTC)).shop()
GOOGLE, META = ("accounts", "campaigns", "ad_groups", "ads"), ("accounts", "campaigns", "ad_sets", "ads")
PLACES = {"google_ads": "0.000001", "meta_ads": "0.01"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made: Path = tmp_path_factory.mktemp("told")
    write_spend(made, ad_spend(SHOP, final=False))
    write_visits(made, SHOP)
    return made


@pytest.fixture
def url(folder: Path) -> Iterator[str]:
    with serve(folder) as server:
        yield server.url


def source(kind: str, url: str, *tables: str, **more: Any) -> dict[str, Any]:
    credentials = {"client_id": "sample", "client_secret": "google-secret", "refresh_token": "google-refresh"}
    own: dict[str, Any] = {
        "google_ads": {"developer_token": "developer-token", "manager": "100-000-0001"},
        "meta_ads": {"access_token": "meta-token"},
        "ga4": {"properties": ["301234567"]},
    }
    if kind != "meta_ads":
        own[kind]["credentials"] = {**credentials, "token_url": f"{url}/{kind}/token"}
    options = {"start": SHOP.start.date(), "step": "100d", **more}
    return {
        **{"kind": kind, "base_url": f"{url}/{kind}", **own[kind]},
        "tables": {table: {} if table.endswith("list") else options for table in tables},
    }


def spent(shop: Shop, platform: str, *, final: bool) -> dict[date, Decimal]:
    found: dict[date, Decimal] = defaultdict(Decimal)
    for row in ad_spend(shop, final=final):
        if row.campaign.platform == platform:
            found[row.day] += row.spend.quantize(Decimal(PLACES[platform]))
    return dict(found)


def read(pulls: Pulls, table: str) -> dict[date, Decimal]:
    """Read what is due of a table, and return its money by day as the last batch that held a day tells it."""
    pulls.pull(table)
    found: dict[date, Decimal] = {}
    for manifest in pulls.manifests(table):
        days: dict[date, Decimal] = defaultdict(Decimal)
        for row in pulls.rows(manifest):
            day = row.get("segments_date") or row["date_start"]
            days[day] += Decimal(row["cost_micros"]) / 1_000_000 if "cost_micros" in row else Decimal(row["spend"])
        assert isinstance(manifest.scope, AccountDaysScope)
        found |= days
    return found


@pytest.mark.parametrize(("kind", "tables"), [("google_ads", GOOGLE), ("meta_ads", META)])
def test_every_level_tells_the_spend_of_the_generator(
    kind: str, tables: tuple[str, ...], folder: Path, url: str, tmp_path: Path
) -> None:
    pulls = Pulls(tmp_path, source(kind, url, *tables))
    expected = spent(SHOP, kind, final=False)
    rows = []
    for table in tables:
        assert read(pulls, table) == expected, table
        rows.append(sum(len(pulls.rows(manifest)) for manifest in pulls.manifests(table)))
    assert told.totals(folder)[kind] == (rows[-1], sum(expected.values()))
    # Fewer rows the higher the level; each campaign of the sample has one group of two ads.
    assert rows[0] < rows[1] == rows[2] and rows[3] == 2 * rows[2]


@pytest.mark.parametrize("kind", ["google_ads", "meta_ads"])
def test_the_last_three_days_are_restated_when_the_file_is_replaced(kind: str, tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_spend(data, ad_spend(SHOP, final=False))
    with serve(data) as server:
        pulls = Pulls(tmp_path, source(kind, server.url, "ads"))
        before = read(pulls, "ads")
        write_spend(data, ad_spend(SHOP))
        after = read(pulls, "ads")
    assert after == spent(SHOP, kind, final=True)
    changed = {day for day in after if after[day] != before[day]}
    assert changed == {LAST_DAY - timedelta(days=back) for back in range(3)}


def test_meta_tells_where_an_ad_was_shown_and_names_its_members(url: str, tmp_path: Path) -> None:
    pulls = Pulls(tmp_path, source("meta_ads", url, "ads", "campaign_list", breakdowns=["publisher_platform"]))
    pulls.pull("ads")
    pulls.pull("campaign_list")
    campaigns = {str(one.campaign_id): one for one in SHOP.campaigns if one.platform == "meta_ads"}
    for row in pulls.last("ads"):
        campaign = campaigns[row["campaign_id"]]
        assert row["publisher_platform"] == campaign.touch.source
        assert row["adset_id"] == f"{row['campaign_id']}0" and row["ad_id"].startswith(row["campaign_id"])
    assert {row["id"]: row["objective"] for row in pulls.last("campaign_list")} == {
        name: one.objective for name, one in campaigns.items()
    }


def test_analytics_tells_every_visit_of_the_shop_and_its_orders(folder: Path, url: str, tmp_path: Path) -> None:
    pulls = Pulls(tmp_path, source("ga4", url, "sessions"))
    pulls.pull("sessions")
    rows = [row for manifest in pulls.manifests("sessions") for row in pulls.rows(manifest)]
    visits = list(SHOP.all_visits())
    assert sum(row["sessions"] for row in rows) == len(visits)
    assert sum(row["transactions"] for row in rows) == sum(visit.order is not None for visit in visits)
    by_day: dict[date, int] = defaultdict(int)
    for row in rows:
        by_day[row["date"]] += row["sessions"]
    midnight = {visit.at.astimezone(ZONE).date() for visit in visits}
    assert set(by_day) == midnight
    euros = sum(order["total"].to_decimal() for order in SHOP.documents("orders") if order["currency"] == "EUR")
    revenue = sum(Decimal(row["purchase_revenue"]) for row in rows)
    others = sum(order["total"].to_decimal() for order in SHOP.documents("orders")) - euros
    assert told.totals(folder)["ga4"] == (len(rows), revenue)
    # What was paid in francs and pounds is worth a little more in euros.
    assert euros + others < revenue < euros + others * Decimal("1.2")
    direct = [row for row in rows if row["session_source"] == "(direct)"]
    assert direct and {row["session_default_channel_group"] for row in direct} == {"Direct"}
