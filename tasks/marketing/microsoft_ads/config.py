"""sources.yaml of kind `microsoft_ads`."""

from __future__ import annotations

from typing import Literal, NamedTuple

from pydantic import Field, PrivateAttr, SecretStr, field_validator, model_validator

from tasks.marketing import versions
from tasks.marketing.rest.config import Address, ApiSource, ChannelTable
from tasks.sources.config import Name

_ACCOUNT = {"date": "TimePeriod", "currency": "CurrencyCode"}
_CAMPAIGN = {"campaign_id": "CampaignId", "campaign_name": "CampaignName"}
_AD_GROUP = {**_CAMPAIGN, "ad_group_id": "AdGroupId", "ad_group_name": "AdGroupName"}
_KEYWORD = {"keyword_id": "KeywordId", "keyword": "Keyword", "match_type": "DeliveredMatchType"}

REPORTS: dict[str, tuple[str, dict[str, str], tuple[str, ...]]] = {
    "accounts": ("AccountPerformanceReportRequest", _ACCOUNT, ()),
    "campaigns": ("CampaignPerformanceReportRequest", {**_ACCOUNT, **_CAMPAIGN}, ("campaign_id",)),
    "ad_groups": ("AdGroupPerformanceReportRequest", {**_ACCOUNT, **_AD_GROUP}, ("ad_group_id",)),
    "ads": ("AdPerformanceReportRequest", {**_ACCOUNT, **_AD_GROUP, "ad_id": "AdId"}, ("ad_id",)),
    "keywords": (
        "KeywordPerformanceReportRequest",
        {**_ACCOUNT, **_AD_GROUP, **_KEYWORD},
        ("ad_group_id", "keyword_id", "match_type"),
    ),
}
"""By table its type of report, by column what the service calls it, and its key (beside the date)."""


class Entity(NamedTuple):
    """A list of entities.

    Attributes:
        columns: By column what the service calls it.
        key: Its key.
        download: The service's word for what is downloaded; empty for the account itself, which is one answer.
        kind: How the type of its records ends; a file holds its own version and the account besides.
    """

    columns: dict[str, str]
    key: tuple[str, ...] = ()
    download: str = ""
    kind: str = ""


ENTITIES = {
    "account_list": Entity(
        {
            **{"account_name": "Name", "account_number": "Number", "currency": "CurrencyCode", "time_zone": "TimeZone"},
            "status": "AccountLifeCycleStatus",
        }
    ),
    "campaign_list": Entity(
        {
            **{"campaign_id": "Id", "campaign_name": "Campaign", "status": "Status", "campaign_type": "Campaign Type"},
            **{"budget": "Budget", "budget_type": "Budget Type", "bid_strategy_type": "Bid Strategy Type"},
        },
        ("campaign_id",),
        "Campaigns",
        "Campaign",
    ),
    "ad_group_list": Entity(
        {
            **{"ad_group_id": "Id", "ad_group_name": "Ad Group", "campaign_id": "Parent Id", "status": "Status"},
            **{"ad_group_type": "Ad Group Type", "language": "Language"},
        },
        ("ad_group_id",),
        "AdGroups",
        "Ad Group",
    ),
    "ad_list": Entity(
        {
            **{"ad_id": "Id", "ad_group_id": "Parent Id", "ad_type": "Type", "status": "Status"},
            **{"editorial_status": "Editorial Status", "final_url": "Final Url"},
        },
        ("ad_id",),
        "Ads",
        " Ad",
    ),
}
"""By table what has no days: the present state, whose history bronze keeps."""

METRICS = {
    "impressions": "Impressions",
    "clicks": "Clicks",
    "spend": "Spend",
    "conversions": "ConversionsQualified",
    "revenue": "Revenue",
}
"""By column the metrics of every report; conversions are those that may be parts of one."""

ZONES = {
    "Europe/Berlin": "AmsterdamBerlinBernRomeStockholmVienna",
    "Europe/Amsterdam": "AmsterdamBerlinBernRomeStockholmVienna",
    "Europe/Rome": "AmsterdamBerlinBernRomeStockholmVienna",
    "Europe/Stockholm": "AmsterdamBerlinBernRomeStockholmVienna",
    "Europe/Vienna": "AmsterdamBerlinBernRomeStockholmVienna",
    "Europe/Zurich": "AmsterdamBerlinBernRomeStockholmVienna",
    "Europe/Paris": "BrusselsCopenhagenMadridParis",
    "Europe/Brussels": "BrusselsCopenhagenMadridParis",
    "Europe/Copenhagen": "BrusselsCopenhagenMadridParis",
    "Europe/Madrid": "BrusselsCopenhagenMadridParis",
    "Europe/Prague": "BelgradeBratislavaBudapestLjubljanaPrague",
    "Europe/Budapest": "BelgradeBratislavaBudapestLjubljanaPrague",
    "Europe/Warsaw": "SarajevoSkopjeWarsawZagreb",
    "Europe/Helsinki": "HelsinkiKyivRigaSofiaTallinnVilnius",
    "Europe/Kyiv": "HelsinkiKyivRigaSofiaTallinnVilnius",
    "Europe/Bucharest": "Bucharest",
    "Europe/London": "GreenwichMeanTimeDublinEdinburghLisbonLondon",
    "Europe/Dublin": "GreenwichMeanTimeDublinEdinburghLisbonLondon",
    "Europe/Lisbon": "GreenwichMeanTimeDublinEdinburghLisbonLondon",
    "America/New_York": "EasternTimeUSCanada",
    "America/Toronto": "EasternTimeUSCanada",
    "America/Chicago": "CentralTimeUSCanada",
    "America/Denver": "MountainTimeUSCanada",
    "America/Phoenix": "Arizona",
    "America/Los_Angeles": "PacificTimeUSCanadaTijuana",
    "America/Vancouver": "PacificTimeUSCanadaTijuana",
    "America/Halifax": "AtlanticTimeCanada",
    "America/Sao_Paulo": "Brasilia",
    "Asia/Tokyo": "OsakaSapporoTokyo",
    "Asia/Seoul": "Seoul",
    "Asia/Singapore": "KualaLumpurSingapore",
    "Asia/Kolkata": "ChennaiKolkataMumbaiNewDelhi",
    "Asia/Dubai": "AbuDhabiMuscat",
    "Australia/Sydney": "CanberraMelbourneSydney",
    "Australia/Brisbane": "Brisbane",
    "Australia/Perth": "Perth",
    "Pacific/Auckland": "AucklandWellington",
}
"""By IANA name what the service calls a time zone."""


class MicrosoftAdsTable(ChannelTable):
    """A report by day, or a list of entities.

    Attributes:
        report: What the table holds; default the report or list that it is called after.
        columns: By column what the service calls it, beside the usual ones, such as `device: DeviceType`. In a report
            they split the rows, and become part of the key.
    """

    report: str | None = None
    columns: dict[str, str] = Field(default_factory=dict)

    _fingerprinted: tuple[str, ...] = PrivateAttr(default=("arrays", "transforms", "report", "columns"))


class MicrosoftAdsSource(ApiSource):
    """Accounts of Microsoft Advertising.

    Attributes:
        developer_token: Of the customer's developer portal.
        client_id, client_secret, refresh_token: Of the app and of a user's consent; the token is replaced at each use.
        token_url: Where tokens are given; name the tenant in it where the app is not for all.
        customer: Number of the customer that the accounts belong to.
        accounts: Numbers of the accounts (not their names with letters).
        timezone: IANA name of the zone whose days the reports are made of: that of the accounts.
    """

    kind: Literal["microsoft_ads"]
    developer_token: SecretStr
    client_id: str
    client_secret: SecretStr
    refresh_token: SecretStr
    token_url: Address = "https://login.microsoftonline.com/common/oauth2/v2.0/token"  # noqa: S105  an address
    customer: str = Field(pattern=r"^\d+$")
    accounts: tuple[str, ...] = Field(min_length=1)
    timezone: str
    version: str = versions.CURRENT["microsoft_ads"]
    tables: dict[Name, MicrosoftAdsTable] = Field(min_length=1)

    @field_validator("timezone")
    @classmethod
    def _zone(cls, name: str) -> str:
        if name not in ZONES:
            raise ValueError(f"the service's reports know another set of zones; use one of {', '.join(sorted(ZONES))}")
        return name

    @model_validator(mode="after")
    def _reports(self) -> MicrosoftAdsSource:
        for name, table in self.tables.items():
            if (table.report or name) not in (*REPORTS, *ENTITIES):
                raise ValueError(f"tables.{name}: give `report`, one of {', '.join((*REPORTS, *ENTITIES))}")
        return self
