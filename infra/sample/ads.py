"""The ad spend of the sample shop's campaigns as the CSV files that each platform would export."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from infra.sample.catalogue import Campaign, random_of
from infra.sample.incidents import PLATFORMS
from infra.sample.shop import Shop

_ADS = 2
_RESTATED_DAYS = 3
# Spend follows the visits of so many days before and after.
_EVEN_DAYS = 14


@dataclass(frozen=True, slots=True)
class CampaignDay:
    """What a platform reports of one ad on one day.

    Attributes:
        campaign: The campaign.
        ad: Number of the ad in its campaign, from 1.
        day: The day (UTC).
        impressions: Times an ad was shown.
        clicks: Clicks; never fewer than the visits that arrived.
        spend: Cost in EUR, with six places.
        conversions: Orders as the platform claims them: more than the shop sees.
        conversions_value: Revenue in EUR as the platform claims it.
    """

    campaign: Campaign
    ad: int
    day: date
    impressions: int
    clicks: int
    spend: Decimal
    conversions: int
    conversions_value: Decimal

    @property
    def ad_id(self) -> str:
        """The ad's number at the platform."""
        return f"{self.campaign.campaign_id}{self.ad:02d}"

    @property
    def ad_group(self) -> str:
        """The number of the ad's group at the platform."""
        return f"{self.campaign.campaign_id}0"


def ad_spend(shop: Shop, *, final: bool = True) -> Iterator[CampaignDay]:
    """Yield what the platforms report, day by day; memory grows with campaigns times days, not with visits.

    Args:
        shop: The shop.
        final: False for figures as they stand at the end of the data: platforms still restate the last three days.
    """
    visits: dict[tuple[str, date], int] = defaultdict(int)
    orders: dict[tuple[str, date], int] = defaultdict(int)
    for visit in shop.all_visits():
        if visit.touch.campaign:
            visits[visit.touch.campaign, visit.at.date()] += 1
            orders[visit.touch.campaign, visit.at.date()] += visit.order is not None
    first = shop.start.date()
    for offset in range(shop.days):
        for campaign in shop.campaigns:
            if campaign.first_day <= offset <= campaign.last_day:
                key = (campaign.touch.campaign or "", first + timedelta(days=offset))
                usual = _usual(visits, campaign, first, offset)
                for ad in range(1, _ADS + 1):
                    # Visits are dealt out to the ads of their campaign.
                    brought = (visits[key] + _ADS - ad) // _ADS, (orders[key] + _ADS - ad) // _ADS
                    row = _day(shop.seed, campaign, ad, key[1], *brought, usual / _ADS)
                    yield from _reported(shop, row if final or offset < shop.days - _RESTATED_DAYS else _early(row))


def _usual(visits: Mapping[tuple[str, date], int], campaign: Campaign, first: date, offset: int) -> float:
    """Return how many visits a day a campaign brings around a day: a platform spends its budget evenly."""
    near = range(max(offset - _EVEN_DAYS, campaign.first_day), min(offset + _EVEN_DAYS, campaign.last_day) + 1)
    name = campaign.touch.campaign or ""
    return sum(visits.get((name, first + timedelta(days=day)), 0) for day in near) / len(near)


def _reported(shop: Shop, row: CampaignDay) -> Iterator[CampaignDay]:
    """Yield a row as the export has it on a day on which something goes wrong."""
    wrong = {
        incident
        for incident, platform in PLATFORMS.items()
        if platform == row.campaign.platform and shop.suffers(incident, row.day)
    }
    if "doubled spend" in wrong:
        row = replace(row, impressions=2 * row.impressions, clicks=2 * row.clicks, spend=2 * row.spend)
    if "zero spend" in wrong:
        row = replace(row, clicks=0, spend=Decimal(0), conversions=0, conversions_value=Decimal(0))
    if "no spend" not in wrong:
        yield row


def _early(row: CampaignDay) -> CampaignDay:
    """Return a row as the platform first tells it, before conversions that come late and clicks that prove invalid."""
    part = row.conversions // 2
    value = (row.conversions_value * part / max(row.conversions, 1)).quantize(Decimal("0.01"))
    return replace(
        row, conversions=part, conversions_value=value, spend=row.spend + row.spend.quantize(Decimal("0.1")) / 10
    )


def _day(seed: int, campaign: Campaign, ad: int, day: date, visits: int, orders: int, usual: float) -> CampaignDay:
    random = random_of(seed, f"spend:{campaign.campaign_id}:{ad}", day.toordinal())
    clicks = max(visits + int(visits * random.uniform(0.02, 0.2)), round(usual * random.uniform(1.4, 1.6)), 1)
    price = Decimal(campaign.cost_per_click_cents) / 100 * Decimal(round(random.uniform(0.95, 1.05), 4))
    conversions = orders + (random.random() < 0.3)
    value = (Decimal(random.randrange(3_000, 9_000)) / 100 * conversions).quantize(Decimal("0.01"))
    spend = (clicks * price).quantize(Decimal("0.000001"))
    return CampaignDay(campaign, ad, day, int(clicks / campaign.click_rate) + 7, clicks, spend, int(conversions), value)


def _google(row: CampaignDay) -> dict[str, Any]:
    return {
        "segments_date": row.day,
        "customer_id": row.campaign.account_id,
        "campaign_id": row.campaign.campaign_id,
        "campaign_name": row.campaign.touch.campaign,
        "advertising_channel_type": row.campaign.objective,
        "ad_group_id": row.ad_group,
        "ad_id": row.ad_id,
        "currency": "EUR",
        "impressions": row.impressions,
        "clicks": row.clicks,
        "cost_micros": int(row.spend * 1_000_000),
        "conversions": f"{row.conversions}.0",
        "conversions_value": row.conversions_value,
    }


def _meta(row: CampaignDay) -> dict[str, Any]:
    return {
        "date_start": row.day,
        "account_id": row.campaign.account_id,
        "campaign_id": row.campaign.campaign_id,
        "campaign_name": row.campaign.touch.campaign,
        "objective": row.campaign.objective,
        "adset_id": row.ad_group,
        "ad_id": row.ad_id,
        "attribution_setting": "7d_click_1d_view",
        "publisher_platform": row.campaign.touch.source,
        "account_currency": "EUR",
        "impressions": row.impressions,
        "inline_link_clicks": row.clicks,
        "spend": row.spend.quantize(Decimal("0.01")),
        # Meta leaves out an action that did not happen, which arrives as an empty cell.
        "purchases": row.conversions or "",
        "purchase_value": row.conversions_value if row.conversions else "",
    }


def _tiktok(row: CampaignDay) -> dict[str, Any]:
    return {
        "stat_time_day": row.day,
        "advertiser_id": row.campaign.account_id,
        "campaign_id": row.campaign.campaign_id,
        "campaign_name": row.campaign.touch.campaign,
        "adgroup_id": row.ad_group,
        "ad_id": row.ad_id,
        "currency": "EUR",
        "spend": row.spend.quantize(Decimal("0.01")),
        "impressions": row.impressions,
        "clicks": row.clicks,
        "complete_payment": row.conversions,
        "total_complete_payment_value": row.conversions_value,
    }


def _linkedin(row: CampaignDay) -> dict[str, Any]:
    return {
        "date": row.day,
        "account_id": row.campaign.account_id,
        "campaign_group_id": row.campaign.campaign_id,
        "campaign_group_name": row.campaign.touch.campaign,
        "campaign_id": row.ad_group,
        "creative_id": row.ad_id,
        "currency": "EUR",
        "costInLocalCurrency": row.spend,
        "impressions": row.impressions,
        "clicks": row.clicks,
        "externalWebsiteConversions": row.conversions,
        "conversionValueInLocalCurrency": row.conversions_value,
    }


_EXPORTS: dict[str, Callable[[CampaignDay], dict[str, Any]]] = {
    "google_ads": _google,
    "meta_ads": _meta,
    "tiktok_ads": _tiktok,
    "linkedin_ads": _linkedin,
}


def write_ad_spend(
    folder: Path, spend: Iterable[CampaignDay], platforms: Collection[str] = frozenset(_EXPORTS)
) -> list[Path]:
    """Write one CSV file per platform and month, `<folder>/<platform>/<yyyy-mm>.csv`, with a row per ad and day.

    A file whose content is already right is left alone, so that a second call changes nothing.

    Args:
        folder: Where the files go.
        spend: What `ad_spend` gives.
        platforms: Those that export files; rows of others are left out.
    """
    files: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in spend:
        if row.campaign.platform not in platforms:
            continue
        files[row.campaign.platform, f"{row.day:%Y-%m}"].append(_EXPORTS[row.campaign.platform](row))
    written = []
    for (platform, month), rows in sorted(files.items()):
        path = folder / platform / f"{month}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, rows, bom=platform == "meta_ads")
        written.append(path)
    return written


def _write(path: Path, rows: list[dict[str, Any]], *, bom: bool) -> None:
    temporary = path.with_suffix(".part")
    with temporary.open("w", encoding="utf-8-sig" if bom else "utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    if path.exists() and path.read_bytes() == temporary.read_bytes():
        temporary.unlink()
    else:
        temporary.replace(path)
