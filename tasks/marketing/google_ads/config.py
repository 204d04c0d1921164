"""sources.yaml of kind `google_ads`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PrivateAttr, SecretStr, field_validator, model_validator

from tasks.marketing import versions
from tasks.marketing.google import GoogleCredentials
from tasks.marketing.rest.config import ApiSource, ChannelTable
from tasks.sources.config import Name

_METRICS = (
    "metrics.impressions",
    "metrics.clicks",
    "metrics.cost_micros",
    "metrics.conversions",
    "metrics.conversions_value",
    "metrics.all_conversions",
    "metrics.view_through_conversions",
)
_CUSTOMER = ("customer.id", "customer.descriptive_name", "customer.currency_code")
_CAMPAIGN = (*_CUSTOMER, "campaign.id", "campaign.name")
_AD_GROUP = (*_CAMPAIGN, "ad_group.id", "ad_group.name")

REPORTS: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "accounts": ("customer", (*_CUSTOMER, *_METRICS), ()),
    "campaigns": ("campaign", (*_CAMPAIGN, *_METRICS), ("campaign_id",)),
    "ad_groups": ("ad_group", (*_AD_GROUP, *_METRICS), ("ad_group_id",)),
    "ads": ("ad_group_ad", (*_AD_GROUP, "ad_group_ad.ad.id", *_METRICS), ("ad_group_id", "ad_group_ad_ad_id")),
    "keywords": (
        "keyword_view",
        (
            *_AD_GROUP,
            "ad_group_criterion.criterion_id",
            "ad_group_criterion.keyword.text",
            "ad_group_criterion.keyword.match_type",
            *_METRICS,
        ),
        ("ad_group_id", "ad_group_criterion_criterion_id"),
    ),
    "conversions": (
        "campaign",
        (
            *_CAMPAIGN,
            "segments.conversion_action",
            "segments.conversion_action_name",
            "segments.conversion_action_category",
            "metrics.conversions",
            "metrics.conversions_value",
            "metrics.all_conversions",
        ),
        ("campaign_id", "segments_conversion_action"),
    ),
}
"""By table: the resource, its fields (beside the date) and its key (beside the date)."""

ENTITIES: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "account_list": ("customer", (*_CUSTOMER, "customer.time_zone", "customer.status"), ()),
    "campaign_list": (
        "campaign",
        (
            *("campaign.id", "campaign.name", "campaign.status", "campaign.advertising_channel_type"),
            *("campaign.bidding_strategy_type", "campaign_budget.amount_micros"),
        ),
        ("campaign_id",),
    ),
    "ad_list": (
        "ad_group_ad",
        (
            *("ad_group.id", "ad_group_ad.ad.id", "ad_group_ad.ad.name", "ad_group_ad.ad.type", "ad_group_ad.status"),
            "ad_group_ad.ad.final_urls",
        ),
        ("ad_group_id", "ad_group_ad_ad_id"),
    ),
}
"""By table what has no days: the present state, whose history bronze keeps."""


class GoogleAdsTable(ChannelTable):
    """A report by day, or a list of entities.

    Attributes:
        resource: Resource of a report of one's own; default the one that the table is called after.
        fields: Its fields, without segments.date, which every report with `day` has.
        key: Its key, as columns, without the date.
    """

    resource: str | None = None
    fields: tuple[str, ...] = ()
    key: tuple[str, ...] = ()

    _fingerprinted: tuple[str, ...] = PrivateAttr(default=("arrays", "transforms", "resource", "fields", "key"))

    @field_validator("resource", "fields")
    @classmethod
    def _plain(cls, value: str | tuple[str, ...] | None) -> str | tuple[str, ...] | None:
        for name in (value,) if isinstance(value, str) else value or ():
            if not all(part.isidentifier() for part in name.split(".")):
                raise ValueError(f"{name!r} is no name of GAQL")
        return value


class GoogleAdsSource(ApiSource):
    """Accounts of Google Ads.

    Attributes:
        developer_token: Of the manager account.
        manager: Number of the manager account that the others are reached through.
        customers: Numbers of the accounts; default all that the manager reaches, or that the user may open.
    """

    kind: Literal["google_ads"]
    credentials: GoogleCredentials
    developer_token: SecretStr
    manager: str | None = None
    customers: tuple[str, ...] = ()
    version: str = versions.CURRENT["google_ads"]
    tables: dict[Name, GoogleAdsTable] = Field(min_length=1)

    @field_validator("manager", "customers", mode="before")
    @classmethod
    def _digits(cls, value: object) -> object:
        """Take numbers as Google's pages show them, 123-456-7890."""
        if isinstance(value, list):
            return [str(one).replace("-", "") for one in value]
        return None if value is None else str(value).replace("-", "")

    @model_validator(mode="after")
    def _reports(self) -> GoogleAdsSource:
        for name, table in self.tables.items():
            if table.resource is None and name not in REPORTS and name not in ENTITIES:
                known = ", ".join((*REPORTS, *ENTITIES))
                raise ValueError(f"tables.{name}: name its resource, fields and key, or call it one of {known}")
            if table.resource is not None and not (table.fields and table.key):
                raise ValueError(f"tables.{name}: a resource needs fields and key")
        return self
