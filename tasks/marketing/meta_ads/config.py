"""sources.yaml of kind `meta_ads`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PrivateAttr, SecretStr, field_validator, model_validator

from tasks.marketing import versions
from tasks.marketing.rest.config import ApiSource, ChannelTable
from tasks.sources.config import Name

LEVELS: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "accounts": ("account", ("account_name",), ()),
    "campaigns": ("campaign", ("campaign_id", "campaign_name"), ("campaign_id",)),
    "ad_sets": ("adset", ("campaign_id", "campaign_name", "adset_id", "adset_name"), ("adset_id",)),
    "ads": ("ad", ("campaign_id", "campaign_name", "adset_id", "adset_name", "ad_id", "ad_name"), ("ad_id",)),
    "campaign_actions": ("campaign", ("campaign_id", "campaign_name"), ("campaign_id", "action_type")),
    "ad_actions": ("ad", ("campaign_id", "adset_id", "ad_id"), ("ad_id", "action_type")),
}
"""By table the level of its insights, the fields that name it, and its key (beside the date and breakdowns)."""

METRICS = ("impressions", "reach", "clicks", "inline_link_clicks", "spend")

ENTITIES: dict[str, tuple[str, tuple[str, ...]]] = {
    "account_list": ("", ("account_id", "name", "account_status", "currency", "timezone_name")),
    "campaign_list": (
        "campaigns",
        ("id", "name", "status", "effective_status", "objective", "daily_budget", "updated_time"),
    ),
    "ad_set_list": (
        "adsets",
        (
            "id",
            "campaign_id",
            "name",
            "status",
            "effective_status",
            "optimization_goal",
            "daily_budget",
            "updated_time",
        ),
    ),
    "ad_list": ("ads", ("id", "adset_id", "campaign_id", "name", "status", "effective_status", "updated_time")),
}
"""By table what has no days: its edge below the account, empty for the account itself, and its fields."""


class MetaAdsTable(ChannelTable):
    """Insights by day at some level, or a list of entities.

    Attributes:
        report: What the table holds: one of the known tables; default the one it is called after.
        breakdowns: Such as publisher_platform; they become part of the key.
        attribution: Windows whose actions are asked for; each becomes a column of the tables of actions.
    """

    report: str | None = None
    breakdowns: tuple[str, ...] = ()
    attribution: tuple[str, ...] = ("7d_click", "1d_view")

    _fingerprinted: tuple[str, ...] = PrivateAttr(
        default=("arrays", "transforms", "report", "breakdowns", "attribution")
    )


class MetaAdsSource(ApiSource):
    """Ad accounts of Meta.

    Attributes:
        access_token: Of a system user, which does not end.
        app_secret: Where the app asks for a proof with each request.
        accounts: Numbers of the ad accounts; default all that the user is assigned to.
        rows: Rows of a page.
    """

    kind: Literal["meta_ads"]
    access_token: SecretStr
    app_secret: SecretStr | None = None
    accounts: tuple[str, ...] = ()
    version: str = versions.CURRENT["meta_ads"]
    rows: int = Field(default=500, ge=1, le=5_000)
    tables: dict[Name, MetaAdsTable] = Field(min_length=1)

    @field_validator("accounts", mode="before")
    @classmethod
    def _numbers(cls, value: object) -> object:
        return [str(one).removeprefix("act_") for one in value] if isinstance(value, list) else value

    @model_validator(mode="after")
    def _reports(self) -> MetaAdsSource:
        for name, table in self.tables.items():
            if (table.report or name) not in (*LEVELS, *ENTITIES):
                known = ", ".join((*LEVELS, *ENTITIES))
                raise ValueError(f"tables.{name}: give `report`, one of {known}")
        return self
