"""sources.yaml of kind `linkedin_ads`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PrivateAttr, SecretStr, model_validator

from tasks.marketing import versions
from tasks.marketing.rest.config import Address, ApiSource, ChannelTable
from tasks.sources.config import Name

PIVOTS = {
    "accounts": ("ACCOUNT", None),
    "campaign_groups": ("CAMPAIGN_GROUP", "campaign_group_id"),
    "campaigns": ("CAMPAIGN", "campaign_id"),
    "creatives": ("CREATIVE", "creative_id"),
}
"""By table its pivot and the column of its value.

LinkedIn's campaign group is what others call a campaign, its campaign what they call an ad group, its creative an ad.
"""

METRICS: dict[str, Literal["int", "decimal", "string"]] = {
    "costInLocalCurrency": "decimal",
    "impressions": "int",
    "clicks": "int",
    "landingPageClicks": "int",
    "likes": "int",
    "shares": "int",
    "comments": "int",
    "oneClickLeads": "int",
    "externalWebsiteConversions": "int",
    "externalWebsitePostClickConversions": "int",
    "externalWebsitePostViewConversions": "int",
    "conversionValueInLocalCurrency": "decimal",
}

ENTITIES = {
    "account_list": "",
    "campaign_group_list": "adCampaignGroups",
    "campaign_list": "adCampaigns",
    "creative_list": "creatives",
}
"""By table what has no days: the last part of its path, empty for the account itself."""


class LinkedinAdsTable(ChannelTable):
    """Analytics by day, or a list of entities.

    Attributes:
        report: What the table holds; default what it is called after.
        metrics: Of the analytics, with their types; more than 18 are asked for in several requests.
    """

    report: str | None = None
    metrics: dict[str, Literal["int", "decimal", "string"]] = Field(default_factory=lambda: dict(METRICS))

    _fingerprinted: tuple[str, ...] = PrivateAttr(default=("arrays", "transforms", "report", "metrics"))


class LinkedinAdsSource(ApiSource):
    """Ad accounts of LinkedIn.

    Attributes:
        access_token: It ends after 60 days; or:
        client_id, client_secret, refresh_token: Of the app and of a user's consent, which lasts a year.
        accounts: Numbers of the accounts; default all that the user may see.
        version: Month of the API's version.
    """

    kind: Literal["linkedin_ads"]
    access_token: SecretStr | None = None
    client_id: str | None = None
    client_secret: SecretStr | None = None
    refresh_token: SecretStr | None = None
    token_url: Address = "https://www.linkedin.com/oauth/v2/accessToken"  # noqa: S105  an address
    accounts: tuple[str, ...] = ()
    version: str = versions.CURRENT["linkedin_ads"]
    tables: dict[Name, LinkedinAdsTable] = Field(min_length=1)

    @model_validator(mode="after")
    def _complete(self) -> LinkedinAdsSource:
        if (self.access_token is None) == (None in (self.client_id, self.client_secret, self.refresh_token)):
            raise ValueError("give access_token, or client_id, client_secret and refresh_token")
        for name, table in self.tables.items():
            if (table.report or name) not in (*PIVOTS, *ENTITIES):
                raise ValueError(f"tables.{name}: give `report`, one of {', '.join((*PIVOTS, *ENTITIES))}")
        return self
