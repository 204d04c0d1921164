"""A fake of TikTok's Business API: whatever happens, the status is 200."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

from infra.sample.channels.facts import AdAccount, AdDay, Facts, Level, summed
from infra.sample.channels.server import Answer, Asked, Fake

_VERSION = "open_api/v1.3/"
_OF_CAMPAIGN = {"campaign_id": "campaign_id", "campaign_name": "campaign_name"}
_OF_AD_GROUP = {"adgroup_id": "ad_group_id", "adgroup_name": "ad_group_name"}
# By list its level, and what its fields are called among the facts.
_LISTS: dict[str, tuple[Level, dict[str, str]]] = {
    "campaign/get/": ("campaign", _OF_CAMPAIGN),
    "adgroup/get/": ("ad_group", _OF_AD_GROUP | _OF_CAMPAIGN),
    "ad/get/": ("ad", {"ad_id": "ad_id", "ad_name": "ad_name"} | _OF_AD_GROUP | _OF_CAMPAIGN),
}
# By data level the level of its rows, and the dimension that names one.
_DATA_LEVELS: dict[str, tuple[Level, str]] = {
    "AUCTION_ADVERTISER": ("account", "advertiser_id"),
    "AUCTION_CAMPAIGN": ("campaign", "campaign_id"),
    "AUCTION_ADGROUP": ("ad_group", "adgroup_id"),
    "AUCTION_AD": ("ad", "ad_id"),
}


class TiktokAdsFake(Fake):
    """Advertisers of one app.

    Args:
        facts: What the advertisers did.
        token: The access token.
    """

    def __init__(self, facts: Facts, token: str = "tiktok-token") -> None:
        super().__init__()
        self.facts, self._token = facts, token

    def answer(self, asked: Asked) -> Answer:
        """See `Fake`."""
        if asked.headers.get("access-token") != self._token:
            return said(40105, "Access token is incorrect or has been revoked.")
        path = asked.path.removeprefix(_VERSION)
        if path == "advertiser/info/":
            names = json.loads(asked.query["advertiser_ids"])
            return said(0, "OK", {"list": [_advertiser(one) for name in names if (one := self.facts.account(name))]})
        account = self.facts.account(asked.query.get("advertiser_id", ""))
        if account is None:
            return said(40001, "No permission to operate advertiser.")
        if path in _LISTS:
            level, names = _LISTS[path]
            members = account.members(level)
            return _page(asked, [{name: getattr(row, of) for name, of in names.items()} for row in members])
        if path != "report/integrated/get/":
            return said(40002, f"path {path} not found")
        first, last = (date.fromisoformat(asked.query[name]) for name in ("start_date", "end_date"))
        if (last - first).days >= 30:
            return said(40002, "The max time span is 30 days for daily dimension.")
        level, dimension = _DATA_LEVELS[asked.query["data_level"]]
        if set(json.loads(asked.query["dimensions"])) != {dimension, "stat_time_day"}:
            return said(40002, "The dimensions do not match the data level.")
        metrics = json.loads(asked.query["metrics"])
        return _page(
            asked, [_row(account, row, dimension, metrics) for row in summed(account.between(first, last), level)]
        )


def _row(account: AdAccount, row: AdDay, dimension: str, metrics: list[str]) -> dict[str, Any]:
    names = {name: getattr(row, of) for name, of in _LISTS["ad/get/"][1].items()} | {"advertiser_id": account.id}
    values = names | {
        "currency": account.currency,
        "spend": f"{row.spend:.2f}",
        "impressions": str(row.impressions),
        "clicks": str(row.clicks),
        "conversion": str(row.conversions),
        "complete_payment": str(row.conversions),
        "total_complete_payment_value": f"{row.value:.2f}" if row.conversions else "-",
    }
    return {
        "dimensions": {dimension: names[dimension], "stat_time_day": f"{row.day} 00:00:00"},
        "metrics": {name: values.get(name, "-") for name in metrics},
    }


def _advertiser(account: AdAccount) -> dict[str, Any]:
    return {
        "advertiser_id": account.id,
        "name": account.name,
        "status": "STATUS_ENABLE",
        "display_timezone": account.timezone,
        "timezone": "Etc/GMT+1",
        "currency": account.currency,
    }


def _page(asked: Asked, rows: list[dict[str, Any]]) -> Answer:
    number, size = int(asked.query.get("page") or 1), int(asked.query.get("page_size") or 10)
    info = {"page": number, "page_size": size, "total_number": len(rows), "total_page": -(-len(rows) // size)}
    return said(0, "OK", {"list": rows[(number - 1) * size : number * size], "page_info": info})


def said(code: int, message: str, data: Any = None) -> Answer:
    """Return an answer in the form that the service gives it."""
    return Answer({"code": code, "message": message, "request_id": "r1", "data": data or {}})
