"""What the fakes of ad platforms know: accounts, and what each campaign did on each day."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal


@dataclass
class AdDay:
    """What one campaign did on one day.

    Attributes:
        spend: Cost in the account's currency, with up to six places.
        conversions: As the platform claims them; it may claim a part of one.
        value: Revenue as the platform claims it.
        platform: Where it was shown, for services that tell.
    """

    day: date
    campaign_id: str
    campaign_name: str
    impressions: int
    clicks: int
    spend: Decimal
    conversions: Decimal = Decimal(0)
    value: Decimal = Decimal(0)
    platform: str = "facebook"


@dataclass
class AdAccount:
    """One account.

    Attributes:
        forbidden: Whether it may not be read.
        rows: By day and campaign.
    """

    id: str
    name: str = ""
    timezone: str = "Europe/Berlin"
    currency: str = "EUR"
    forbidden: bool = False
    rows: dict[tuple[date, str, str], AdDay] = field(default_factory=dict)

    def put(self, row: AdDay) -> None:
        """Set what a campaign did on a day, whatever was there."""
        self.rows[row.day, row.campaign_id, row.platform] = row

    def drop(self, day: date, campaign_id: str = "") -> None:
        """Take away what a campaign, or all of them, did on a day."""
        for key in [key for key in self.rows if key[0] == day and campaign_id in ("", key[1])]:
            del self.rows[key]

    def between(self, first: date, last: date) -> Iterator[AdDay]:
        """Yield the rows of days, in order."""
        yield from (self.rows[key] for key in sorted(self.rows) if first <= key[0] <= last)

    def campaigns(self) -> dict[str, str]:
        """Return the names of the campaigns by their id."""
        return {row.campaign_id: row.campaign_name for _, row in sorted(self.rows.items())}


class Facts:
    """The accounts of one platform."""

    def __init__(self, *accounts: AdAccount) -> None:
        self.accounts = {account.id: account for account in accounts}

    def account(self, name: str) -> AdAccount | None:
        """Return an account that exists and may be read."""
        found = self.accounts.get(name)
        return None if found is None or found.forbidden else found
