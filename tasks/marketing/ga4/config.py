"""sources.yaml of kind `ga4`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PrivateAttr, model_validator

from tasks.marketing.google import GoogleCredentials
from tasks.marketing.rest.config import ApiSource, ChannelTable
from tasks.sources.config import Name

REPORTS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "sessions": (
        ("sessionSource", "sessionMedium", "sessionCampaignName", "sessionDefaultChannelGroup"),
        ("sessions", "engagedSessions", "totalUsers", "newUsers", "keyEvents", "transactions", "purchaseRevenue"),
    ),
    "ecommerce": (
        ("itemId", "itemName", "itemCategory"),
        ("itemsViewed", "itemsAddedToCart", "itemsPurchased", "itemRevenue"),
    ),
    "events": (("eventName",), ("eventCount", "totalUsers", "eventValue")),
}
"""By table its dimensions (beside the date) and its metrics."""


class Ga4Table(ChannelTable):
    """A report by day.

    Attributes:
        dimensions: Beside the date; default those of the report that the table is called after.
        metrics: Likewise.
        keep_empty: Whether rows come whose metrics are all zero.
    """

    dimensions: tuple[str, ...] = Field(default=(), max_length=8)
    metrics: tuple[str, ...] = Field(default=(), max_length=10)
    keep_empty: bool = False

    _fingerprinted: tuple[str, ...] = PrivateAttr(default=("arrays", "transforms", "dimensions", "metrics"))


class Ga4Source(ApiSource):
    """Properties of Google Analytics 4.

    Attributes:
        properties: Their numbers.
        rows: Rows of a page; the service gives at most 250,000.
    """

    kind: Literal["ga4"]
    credentials: GoogleCredentials
    properties: tuple[str, ...] = Field(min_length=1)
    version: str = "v1beta"
    rows: int = Field(default=100_000, ge=1, le=250_000)
    tables: dict[Name, Ga4Table] = Field(min_length=1)

    @model_validator(mode="after")
    def _reports(self) -> Ga4Source:
        for name, table in self.tables.items():
            if not table.metrics and name not in REPORTS:
                known = ", ".join(REPORTS)
                raise ValueError(f"tables.{name}: name its dimensions and metrics, or call it {known}")
        return self
