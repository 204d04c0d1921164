"""A fake of Meta's Marketing API: insights by asynchronous reports, and lists of entities."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import date
from typing import Any

from infra.sample.channels.facts import AdAccount, AdDay, Facts, Level, summed
from infra.sample.channels.server import Answer, Asked, Fake

_VERSION = re.compile(r"^v\d+\.\d+$")
_LEVELS: dict[str, Level] = {"account": "account", "campaign": "campaign", "adset": "ad_group", "ad": "ad"}
_EDGES: dict[str, Level] = {"campaigns": "campaign", "adsets": "ad_group", "ads": "ad"}


@dataclass
class _Job:
    account: AdAccount
    form: dict[str, str]
    looks: int = 0


class MetaAdsFake(Fake):
    """Ad accounts of one system user.

    Args:
        facts: What the accounts did.
        token: The access token.
        versions: Versions of the API that are answered.
    """

    def __init__(self, facts: Facts, token: str = "meta-token", versions: tuple[str, ...] = ("v26.0",)) -> None:
        super().__init__()
        self.facts, self._token, self.versions = facts, token, versions
        self.jobs: dict[str, _Job] = {}
        self.usage = 1.0
        self.permissions = ["ads_read", "business_management"]
        # How a job ends, by its number; default it is completed at the second look.
        self.endings: dict[int, str] = {}

    def answer(self, asked: Asked) -> Answer:
        """See `Fake`."""
        token = asked.query.get("access_token") or asked.headers.get("authorization", "").removeprefix("Bearer ")
        if (token or asked.form.get("access_token")) != self._token:
            return refused(190, "Invalid OAuth access token.", kind="OAuthException")
        version, _, path = asked.path.partition("/")
        if not _VERSION.match(version) or version not in self.versions:
            return refused(2635, f"You are calling a deprecated version of the Ads API: {version}.")
        head, _, rest = path.rstrip("/").partition("/")
        answer = self._route(asked, head, rest)
        usage = {"1": [{"type": "ads_insights", "call_count": self.usage, "estimated_time_to_regain_access": 0}]}
        answer.headers = {
            **answer.headers,
            "x-business-use-case-usage": json.dumps(usage),
            "x-fb-ads-insights-throttle": '{"app_id_util_pct":0}',
        }
        return answer

    def _route(self, asked: Asked, head: str, rest: str) -> Answer:
        if head == "me" and rest == "adaccounts":
            return _page(asked, [_account(one) for one in self.facts.accounts.values()])
        if head == "me" and rest == "permissions":
            return _page(asked, [{"permission": name, "status": "granted"} for name in self.permissions])
        if head in self.jobs:
            return self._report(asked, head) if rest == "insights" else self._look(head)
        account = self.facts.account(head.removeprefix("act_"))
        if account is None:
            return refused(200, "(#200) Ad account owner has NOT granted ads_management or ads_read permission.", 403)
        if rest == "insights" and asked.method == "POST":
            name = str(7_000_000_000_000_000_000 + len(self.jobs) + 1)
            self.jobs[name] = _Job(account, asked.form)
            return Answer({"report_run_id": name})
        if rest in _EDGES:
            level = _EDGES[rest]
            return _page(asked, [_member(row, level) for row in account.members(level)])
        if not rest:
            return Answer(_account(account))
        return _page(asked, [])

    def _look(self, name: str) -> Answer:
        job = self.jobs[name]
        job.looks += 1
        number = list(self.jobs).index(name)
        ending = self.endings.get(number, "Job Completed")
        if ending == "stuck":
            return Answer({"id": name, "async_status": "Job Not Started", "async_percent_completion": 0})
        if job.looks < 2:
            return Answer({"id": name, "async_status": "Job Running", "async_percent_completion": 50})
        return Answer({"id": name, "async_status": ending, "async_percent_completion": 100})

    def _report(self, asked: Asked, name: str) -> Answer:
        job = self.jobs[name]
        fields = json.loads(job.form["fields"])
        days = json.loads(job.form["time_range"])
        breakdowns = json.loads(job.form.get("breakdowns", "[]"))
        found = job.account.between(date.fromisoformat(days["since"]), date.fromisoformat(days["until"]))
        rows = summed(found, _LEVELS[job.form["level"]], by_platform="publisher_platform" in breakdowns)
        return _page(asked, [_row(job.account, row, fields, breakdowns) for row in rows])


def _member(row: AdDay, level: Level) -> dict[str, Any]:
    """Return a campaign, ad set or ad as its list has it."""
    names: dict[Level, dict[str, Any]] = {
        "campaign": {"id": row.campaign_id, "name": row.campaign_name, "objective": row.objective},
        "ad_group": {"id": row.ad_group_id, "name": row.ad_group_name, "campaign_id": row.campaign_id},
        "ad": {
            **{"id": row.ad_id, "name": row.ad_name},
            **{"adset_id": row.ad_group_id, "campaign_id": row.campaign_id},
        },
    }
    return {**names[level], "status": "ACTIVE", "effective_status": "ACTIVE"}


def _row(account: AdAccount, row: AdDay, fields: list[str], breakdowns: list[str]) -> dict[str, Any]:
    day = row.day.isoformat()
    values: dict[str, Any] = {
        "account_id": account.id,
        "account_name": account.name,
        "account_currency": account.currency,
        "campaign_id": row.campaign_id,
        "campaign_name": row.campaign_name,
        "adset_id": row.ad_group_id,
        "adset_name": row.ad_group_name,
        "ad_id": row.ad_id,
        "ad_name": row.ad_name,
        "impressions": str(row.impressions),
        "reach": str(row.impressions),
        "clicks": str(row.clicks),
        "inline_link_clicks": str(row.clicks),
        "spend": f"{row.spend:.2f}",
    }
    if row.conversions:
        names = ("purchase", "omni_purchase", "offsite_conversion.fb_pixel_purchase")
        values["actions"] = [
            {"action_type": name, "value": f"{row.conversions:f}", "7d_click": f"{row.conversions:f}"} for name in names
        ]
        values["action_values"] = [
            {"action_type": name, "value": f"{row.value:f}", "7d_click": f"{row.value:f}"} for name in names
        ]
    made = {name: values[name] for name in fields if name in values}
    made |= {"date_start": day, "date_stop": day}
    return made | ({"publisher_platform": row.platform} if "publisher_platform" in breakdowns else {})


def _account(account: AdAccount) -> dict[str, Any]:
    return {
        "account_id": account.id,
        "id": f"act_{account.id}",
        "name": account.name,
        "account_status": 1,
        "timezone_name": account.timezone,
        "currency": account.currency,
    }


def _page(asked: Asked, rows: list[dict[str, Any]]) -> Answer:
    size = int(asked.query.get("limit") or 25)
    start = int(asked.query.get("after") or 0)
    page = rows[start : start + size]
    body: dict[str, Any] = {"data": page}
    if page:
        body["paging"] = {"cursors": {"before": str(start), "after": str(start + len(page))}}
        if start + len(page) < len(rows):
            body["paging"]["next"] = f"https://graph.facebook.com/{asked.path}?after={start + len(page)}"
    return Answer(body)


def refused(code: int, message: str, status: int = 400, kind: str = "OAuthException", **more: Any) -> Answer:
    """Return an error in the form that the service gives it."""
    return Answer({"error": {"message": message, "type": kind, "code": code, "fbtrace_id": "A1", **more}}, status)
