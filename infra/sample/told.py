"""What the fakes of the sample's channels tell: written by the demo as files, which the server of the fakes reads."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

from infra.sample.ads import CampaignDay
from infra.sample.catalogue import Touch
from infra.sample.channels.facts import AdAccount, AdDay, Facts
from infra.sample.channels.ga4 import Property
from infra.sample.shop import CURRENCIES, ZONE, Document, Shop

PLATFORMS = ("google_ads", "meta_ads")
"""Platforms whose spend is read from a fake; that of the others is exported as files."""

# Google counts millionths; Meta tells cents.
_PLACES = {"google_ads": "0.000001", "meta_ads": "0.01"}
_PROPERTY = "301234567"
_GROUPS: dict[tuple[str | None, str | None], str] = {
    (None, None): "Direct",
    ("google", "cpc"): "Paid Search",
    **dict.fromkeys((("google", "organic"), ("bing", "organic")), "Organic Search"),
    ("newsletter", "email"): "Email",
    ("instagram", "social"): "Organic Social",
    ("homeblog", "referral"): "Referral",
    ("dealhunter", "affiliate"): "Affiliates",
}
_UNTAGGED = {None: "(direct)", "organic": "(organic)"}
_EUROS = {code: Decimal(str(rate)) for code, rate in CURRENCIES}
_FIGURES = ("sessions", "engagedSessions", "totalUsers", "newUsers", "keyEvents", "transactions", "purchaseRevenue")


# -- writing ----------------------------------------------------------------------------------------------------


def write_spend(folder: Path, rows: Iterable[CampaignDay]) -> None:
    """Write `google_ads.json` and `meta_ads.json`, what these two tell of each ad and day; others are left out."""
    accounts: dict[str, dict[str, list[AdDay]]] = {platform: defaultdict(list) for platform in PLATFORMS}
    for row in rows:
        if row.campaign.platform in accounts:
            accounts[row.campaign.platform][row.campaign.account_id].append(_ad_day(row))
    for platform, by_account in accounts.items():
        found = [{"id": name, "rows": [vars(row) for row in told]} for name, told in by_account.items()]
        _write(folder / f"{platform}.json", found)


def write_visits(folder: Path, shop: Shop) -> None:
    """Write `ga4.json`: the shop's visits as Google Analytics tells them, by day, source, medium and campaign."""
    found: dict[tuple[date, Touch], dict[str, Any]] = {}
    for visit in shop.all_visits():
        key = visit.at.astimezone(ZONE).date(), visit.touch
        row = found.setdefault(key, dict.fromkeys(_FIGURES, 0) | {"people": set()})
        row["people"].add(visit.person)
        row["sessions"] += 1
        row["engagedSessions"] += visit.depth > 1
        row["newUsers"] += visit.number == 0
        if visit.order is not None:
            row["keyEvents"] += 1
            row["transactions"] += 1
            row["purchaseRevenue"] += _euros(shop.order(visit))
    days: dict[date, list[dict[str, Any]]] = defaultdict(list)
    for (day, touch), row in sorted(found.items(), key=lambda item: (item[0][0], str(item[0][1]))):
        row["totalUsers"] = len(row.pop("people"))
        days[day].append({**_dimensions(touch), **row})
    _write(folder / "ga4.json", [{"id": _PROPERTY, "days": {str(day): rows for day, rows in days.items()}}])


def _ad_day(row: CampaignDay) -> AdDay:
    campaign = row.campaign
    name = campaign.touch.campaign or ""
    return AdDay(
        row.day,
        str(campaign.campaign_id),
        name,
        row.impressions,
        row.clicks,
        row.spend.quantize(Decimal(_PLACES[campaign.platform])),
        Decimal(row.conversions),
        row.conversions_value,
        platform=campaign.touch.source or "",
        objective=campaign.objective,
        ad_group_id=row.ad_group,
        ad_group_name=f"{name}_all",
        ad_id=row.ad_id,
        ad_name=f"{name}_{row.ad}",
    )


def _euros(order: Document) -> Decimal:
    """Return an order's total in the property's currency, to the cent."""
    total: Decimal = order["total"].to_decimal()
    return (total / _EUROS[order["currency"]]).quantize(Decimal("0.01"))


def _dimensions(touch: Touch) -> dict[str, str]:
    """Return what Analytics calls a way to the shop; a visit that nobody tagged has words in parentheses."""
    named = touch.campaign or _UNTAGGED.get(touch.medium, "(referral)")
    group = "Paid Shopping" if "shopping" in named else _GROUPS.get((touch.source, touch.medium), "Paid Social")
    return {
        "sessionSource": touch.source or "(direct)",
        "sessionMedium": touch.medium or "(none)",
        "sessionCampaignName": named,
        "sessionDefaultChannelGroup": group,
    }


def _write(path: Path, found: list[dict[str, Any]]) -> None:
    """Write a file at once: the server sees the old or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    temporary.write_text(json.dumps(found, default=str))
    temporary.replace(path)


# -- reading ----------------------------------------------------------------------------------------------------


def read_spend(path: Path) -> Facts:
    """Return the accounts of one platform; their days are those of UTC, as the sample's are."""
    accounts = []
    for told in json.loads(path.read_text()):
        account = AdAccount(told["id"], "Sample shop", "Etc/UTC")
        for row in told["rows"]:
            numbers = {name: Decimal(row[name]) for name in ("spend", "conversions", "value")}
            account.put(AdDay(**{**row, **numbers, "day": date.fromisoformat(row["day"])}))
        accounts.append(account)
    return Facts(*accounts)


def read_visits(path: Path) -> list[Property]:
    """Return the properties of Google Analytics."""
    found = []
    for told in json.loads(path.read_text()):
        one = Property(told["id"])
        for day, rows in told["days"].items():
            one.put(date.fromisoformat(day), rows)
        found.append(one)
    return found


def totals(folder: Path) -> dict[str, tuple[int, Decimal]]:
    """Return by kind of channel the rows that its fake tells and their spend or revenue, as they were written."""
    found = {}
    for platform in PLATFORMS:
        rows = [row for told in json.loads((folder / f"{platform}.json").read_text()) for row in told["rows"]]
        found[platform] = len(rows), sum((Decimal(row["spend"]) for row in rows), Decimal(0))
    days = [rows for told in json.loads((folder / "ga4.json").read_text()) for rows in told["days"].values()]
    revenue = [Decimal(row["purchaseRevenue"]) for rows in days for row in rows]
    found["ga4"] = len(revenue), sum(revenue, Decimal(0))
    return found
