"""What the fakes of ad platforms know: accounts, and what each campaign or ad did on each day."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Literal

Level = Literal["account", "campaign", "ad_group", "ad", "keyword"]

_CAMPAIGN = ("campaign_id", "campaign_name", "objective")
_AD_GROUP = (*_CAMPAIGN, "ad_group_id", "ad_group_name")
_NAMES: dict[Level, tuple[str, ...]] = {
    "account": (),
    "campaign": _CAMPAIGN,
    "ad_group": _AD_GROUP,
    "ad": (*_AD_GROUP, "ad_id", "ad_name"),
    "keyword": (*_AD_GROUP, "keyword_id", "keyword"),
}
_FIGURES = ("impressions", "clicks", "spend", "conversions", "value")


@dataclass
class AdDay:
    """What one campaign did on one day, or one ad of it where the ad is named.

    Attributes:
        spend: Cost in the account's currency, with up to six places.
        conversions: As the platform claims them; it may claim a part of one.
        value: Revenue as the platform claims it.
        platform: Where it was shown, for services that tell.
        objective: What the campaign is optimised for.
        keyword: What the ad was shown for, where the service tells.
    """

    day: date
    campaign_id: str = ""
    campaign_name: str = ""
    impressions: int = 0
    clicks: int = 0
    spend: Decimal = Decimal(0)
    conversions: Decimal = Decimal(0)
    value: Decimal = Decimal(0)
    platform: str = "facebook"
    objective: str = "SEARCH"
    ad_group_id: str = ""
    ad_group_name: str = ""
    ad_id: str = ""
    ad_name: str = ""
    keyword_id: str = ""
    keyword: str = ""


@dataclass
class AdAccount:
    """One account.

    Attributes:
        forbidden: Whether it may not be read.
        rows: By day, campaign, place and ad.
    """

    id: str
    name: str = ""
    timezone: str = "Europe/Berlin"
    currency: str = "EUR"
    forbidden: bool = False
    rows: dict[tuple[date, str, str, str], AdDay] = field(default_factory=dict)

    def put(self, row: AdDay) -> None:
        """Set what a campaign or ad did on a day, whatever was there."""
        self.rows[row.day, row.campaign_id, row.platform, row.ad_id] = row

    def drop(self, day: date, campaign_id: str = "") -> None:
        """Take away what a campaign, or all of them, did on a day."""
        for key in [key for key in self.rows if key[0] == day and campaign_id in ("", key[1])]:
            del self.rows[key]

    def between(self, first: date, last: date) -> Iterator[AdDay]:
        """Yield the rows of days, in order."""
        yield from (self.rows[key] for key in sorted(self.rows) if first <= key[0] <= last)

    def members(self, level: Level) -> list[AdDay]:
        """Return each campaign, ad group, ad or keyword that has a number once, as its last day has it."""
        last: dict[str, AdDay] = {}
        for _, row in sorted(self.rows.items()):
            last[getattr(row, f"{level}_id")] = row
        return [row for number, row in last.items() if number]


def summed(rows: Iterable[AdDay], level: Level, *, by_platform: bool = False) -> list[AdDay]:
    """Return rows summed by day and level, in their order; what lies below the level is unnamed.

    What has no number at the level has no row, such as a campaign without ads among the ads.
    """
    names = ("day", *_NAMES[level], *(("platform",) if by_platform else ()))
    found: dict[tuple[object, ...], AdDay] = {}
    for row in rows:
        if level != "account" and not getattr(row, f"{level}_id"):
            continue
        key = tuple(getattr(row, name) for name in names)
        if key not in found:
            found[key] = AdDay(**dict(zip(names, key, strict=True)))
        for name in _FIGURES:
            setattr(found[key], name, getattr(found[key], name) + getattr(row, name))
    return list(found.values())


class Facts:
    """The accounts of one platform."""

    def __init__(self, *accounts: AdAccount) -> None:
        self.accounts = {account.id: account for account in accounts}

    def account(self, name: str) -> AdAccount | None:
        """Return an account that exists and may be read."""
        found = self.accounts.get(name)
        return None if found is None or found.forbidden else found
