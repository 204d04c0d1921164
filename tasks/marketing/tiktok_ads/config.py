"""sources.yaml of kind `tiktok_ads`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PrivateAttr, SecretStr, model_validator

from tasks.marketing import versions
from tasks.marketing.rest.config import ApiSource, ChannelTable
from tasks.sources.config import Name

REPORTS: dict[str, tuple[str, str | None, tuple[str, ...]]] = {
    "advertisers": ("AUCTION_ADVERTISER", None, ()),
    "campaigns": ("AUCTION_CAMPAIGN", "campaign_id", ("campaign_name",)),
    "ad_groups": ("AUCTION_ADGROUP", "adgroup_id", ("campaign_id", "campaign_name", "adgroup_name")),
    "ads": ("AUCTION_AD", "ad_id", ("campaign_id", "campaign_name", "adgroup_id", "adgroup_name", "ad_name")),
}
"""By table its data level, the dimension that names a row, and the attributes that come as metrics."""

METRICS: dict[str, Literal["int", "decimal", "string"]] = {
    "spend": "decimal",
    "impressions": "int",
    "clicks": "int",
    "conversion": "int",
    "complete_payment": "int",
    "total_complete_payment_value": "decimal",
}

ENTITIES = {
    "advertiser_list": ("advertiser", None),
    "campaign_list": ("campaign", "campaign_id"),
    "ad_group_list": ("adgroup", "adgroup_id"),
    "ad_list": ("ad", "ad_id"),
}
"""By table what has no days: the first part of its path, and its key within the advertiser."""

ADVERTISER = ("advertiser_id", "name", "company", "status", "currency", "display_timezone", "timezone")
"""Fields of the list of advertisers."""


class TiktokAdsTable(ChannelTable):
    """A report by day, or a list of entities.

    Attributes:
        report: What the table holds; default the report or list that it is called after.
        metrics: Of the report, with their types.
    """

    report: str | None = None
    metrics: dict[str, Literal["int", "decimal", "string"]] = Field(default_factory=lambda: dict(METRICS))

    _fingerprinted: tuple[str, ...] = PrivateAttr(default=("arrays", "transforms", "report", "metrics"))


class TiktokAdsSource(ApiSource):
    """Advertisers of TikTok.

    Attributes:
        access_token: Of the app, for the advertisers that granted it; it does not end.
        advertisers: Their numbers, as text.
    """

    kind: Literal["tiktok_ads"]
    access_token: SecretStr
    advertisers: tuple[str, ...] = Field(min_length=1)
    version: str = versions.CURRENT["tiktok_ads"]
    rows: int = Field(default=1_000, ge=1, le=1_000)
    tables: dict[Name, TiktokAdsTable] = Field(min_length=1)

    @model_validator(mode="after")
    def _reports(self) -> TiktokAdsSource:
        for name, table in self.tables.items():
            if (table.report or name) not in (*REPORTS, *ENTITIES):
                raise ValueError(f"tables.{name}: give `report`, one of {', '.join((*REPORTS, *ENTITIES))}")
        return self
