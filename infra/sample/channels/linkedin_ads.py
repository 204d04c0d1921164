"""A fake of LinkedIn's Marketing API: Rest.li queries, URNs, fields that are left out where they are zero."""

from __future__ import annotations

import re
from datetime import date
from typing import Any

from infra.sample.channels.facts import AdAccount, AdDay, Facts, Level, summed
from infra.sample.channels.server import Answer, Asked, Fake

# The names within a structure may come in any order.
_DAY = re.compile(r"(?<=[(,])(start|end):\(([a-z]+:\d+(?:,[a-z]+:\d+)*)\)")
_ACCOUNTS = re.compile(r"accounts=List\(urn%3Ali%3AsponsoredAccount%3A(\d+)\)")
_MOST_FIELDS = 20

# By pivot the level in others' words, and what its URNs are called.
_PIVOTS: dict[str, tuple[Level, str]] = {
    "ACCOUNT": ("account", "sponsoredAccount"),
    "CAMPAIGN_GROUP": ("campaign", "sponsoredCampaignGroup"),
    "CAMPAIGN": ("ad_group", "sponsoredCampaign"),
    "CREATIVE": ("ad", "sponsoredCreative"),
}
# By list the level below it in others' words; creatives have a URN for a number.
_LISTS: dict[str, tuple[Level, str]] = {
    "adCampaignGroups": ("campaign", ""),
    "adCampaigns": ("ad_group", ""),
    "creatives": ("ad", "urn:li:sponsoredCreative:"),
}


class LinkedinAdsFake(Fake):
    """Ad accounts of one member.

    Args:
        facts: What the accounts did.
        versions: Versions of the API that are answered.
        token: The access token.
    """

    def __init__(self, facts: Facts, versions: tuple[str, ...] = ("202610",), token: str = "linkedin-token") -> None:
        super().__init__()
        self.facts, self.versions, self.token = facts, versions, token
        self.refresh_tokens = ["linkedin-refresh"]

    def answer(self, asked: Asked) -> Answer:
        """See `Fake`."""
        if asked.path == "token":
            return self._token(asked)
        if asked.headers.get("authorization") != f"Bearer {self.token}":
            return refused(401, "The token used in the request has expired", "EXPIRED_ACCESS_TOKEN")
        version = asked.headers.get("linkedin-version", "")
        if version not in self.versions:
            return refused(426, f"Requested version {version} is not active", "NONEXISTENT_VERSION")
        if asked.path == "rest/adAccounts":
            return _page(asked, [_account(one) for one in self.facts.accounts.values()])
        if asked.path == "rest/adAnalytics":
            return self._analytics(asked)
        account = self.facts.account(asked.path.split("/")[2])
        if account is None:
            return refused(403, "Not enough permissions to access the account", "ACCESS_DENIED")
        if asked.path.count("/") == 2:
            return Answer(_account(account))
        level, urn = _LISTS[asked.path.split("/")[3]]
        rows = [(getattr(row, f"{level}_id"), getattr(row, f"{level}_name")) for row in account.members(level)]
        return _page(asked, [{"id": f"{urn}{name}" if urn else int(name), "name": title} for name, title in rows])

    def _token(self, asked: Asked) -> Answer:
        if asked.form.get("refresh_token") != self.refresh_tokens[-1]:
            return Answer({"error": "invalid_grant", "error_description": "The refresh token was replaced"}, 400)
        number = len(self.refresh_tokens)
        self.refresh_tokens.append(f"linkedin-refresh-{number}")
        self.token = f"linkedin-access-{number}"
        return Answer({"access_token": self.token, "expires_in": 600, "refresh_token": self.refresh_tokens[-1]})

    def _analytics(self, asked: Asked) -> Answer:
        days, accounts = _days(asked.raw_query), _ACCOUNTS.search(asked.raw_query)
        fields = asked.query["fields"].split(",")
        if days.keys() != {"start", "end"} or accounts is None or len(fields) > _MOST_FIELDS:
            return refused(400, "Invalid query parameters passed to request", "ILLEGAL_ARGUMENT")
        account = self.facts.account(accounts[1])
        if account is None:
            return refused(403, "Not enough permissions to access the account", "ACCESS_DENIED")
        level, urn = _PIVOTS[asked.query["pivot"]]
        rows = [
            _row(row, fields, f"urn:li:{urn}:{account.id if level == 'account' else getattr(row, f'{level}_id')}")
            for row in summed(account.between(days["start"], days["end"]), level)
        ]
        return Answer({"elements": rows, "paging": {"start": 0, "count": 10, "links": []}})


def _days(query: str) -> dict[str, date]:
    """Return the ends of the range of days by their names."""
    _, _, asked = query.partition("dateRange=(")
    found = {}
    for name, text in _DAY.findall("(" + asked.partition("&")[0]):
        parts = dict(part.split(":") for part in text.split(","))
        found[name] = date(int(parts["year"]), int(parts["month"]), int(parts["day"]))
    return found


def _account(account: AdAccount) -> dict[str, Any]:
    return {"id": int(account.id), "name": account.name, "currency": account.currency}


def _row(row: AdDay, fields: list[str], urn: str) -> dict[str, Any]:
    day = {"year": row.day.year, "month": row.day.month, "day": row.day.day}
    values = {
        "dateRange": {"start": day, "end": day},
        "pivotValues": [urn],
        "impressions": row.impressions,
        "clicks": row.clicks,
        "costInLocalCurrency": f"{row.spend:f}",
        "externalWebsiteConversions": int(row.conversions),
        "conversionValueInLocalCurrency": f"{row.value:f}",
    }
    return {name: values[name] for name in fields if values.get(name) not in (None, 0)}


def _page(asked: Asked, rows: list[dict[str, Any]]) -> Answer:
    size, start = int(asked.query.get("pageSize") or 10), int(asked.query.get("pageToken") or 0)
    body: dict[str, Any] = {"elements": rows[start : start + size], "metadata": {}}
    if start + size < len(rows):
        body["metadata"]["nextPageToken"] = str(start + size)
    return Answer(body)


def refused(status: int, message: str, code: str) -> Answer:
    """Return an error in the form that the service gives it."""
    return Answer({"status": status, "code": code, "message": message}, status)
