"""A fake of Microsoft Advertising: reports and lists, ordered, polled, and handed out as zipped CSV elsewhere."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any

from infra.sample.channels.facts import AdAccount, AdDay, Facts, Level, summed
from infra.sample.channels.server import Answer, Asked, Fake

# By type of report the level of its rows.
_REPORTS: dict[str, Level] = {
    "AccountPerformanceReportRequest": "account",
    "CampaignPerformanceReportRequest": "campaign",
    "AdGroupPerformanceReportRequest": "ad_group",
    "AdPerformanceReportRequest": "ad",
    "KeywordPerformanceReportRequest": "keyword",
}
_ENTITIES: dict[str, Level] = {"Campaigns": "campaign", "AdGroups": "ad_group", "Ads": "ad"}
# Of the columns of a bulk file those that its rows here fill.
_BULK_COLUMNS = (
    *("Type", "Status", "Id", "Parent Id", "Campaign", "Ad Group", "Name", "Sync Time", "Time Zone", "Campaign Type"),
    *("Budget", "Budget Type", "Bid Strategy Type", "Ad Group Type", "Language", "Editorial Status", "Final Url"),
)
_ZONES = {
    "Europe/Berlin": "AmsterdamBerlinBernRomeStockholmVienna",
    "America/Los_Angeles": "PacificTimeUSCanadaTijuana",
}


@dataclass
class _Job:
    """A report, or the download of an account's entities."""

    account: AdAccount
    request: dict[str, Any]
    looks: int = 0

    def rows(self) -> list[AdDay]:
        days = self.request["Time"]
        first, last = (_date(days[name]) for name in ("CustomDateRangeStart", "CustomDateRangeEnd"))
        return summed(self.account.between(first, last), _REPORTS[self.request["Type"]])

    @property
    def is_bulk(self) -> bool:
        return "DownloadEntities" in self.request


class MicrosoftAdsFake(Fake):
    """Accounts of one customer, read by one app.

    Args:
        facts: What the accounts did.
        customer: The customer's number.
    """

    def __init__(self, facts: Facts, customer: str = "100") -> None:
        super().__init__()
        self.facts, self._customer = facts, customer
        self.jobs: dict[str, _Job] = {}
        # The refresh token is replaced each time: the one before it is worth nothing any more.
        self.tokens_given = 0
        # How a job ends, by its number; default it succeeds at the second look.
        self.endings: dict[int, str] = {}
        # Where files are fetched; default here.
        self.storage: str | None = None

    def answer(self, asked: Asked) -> Answer:
        """See `Fake`."""
        if asked.path == "token":
            return self._token(asked)
        if asked.path.startswith("files/"):
            # A storage refuses an address with a signature that comes with other credentials too.
            if "authorization" in asked.headers or "developertoken" in asked.headers:
                return Answer(b"<Error>InvalidAuthenticationInfo</Error>", 400)
            return Answer(report_file(self.jobs[asked.path.removeprefix("files/")]), headers={"content-type": "zip"})
        if asked.headers.get("authorization") != f"Bearer microsoft-access-{self.tokens_given}":
            return refused(401, 109, "AuthenticationTokenExpired")
        if (asked.headers.get("developertoken"), asked.headers.get("customerid")) != (
            "developer-token",
            self._customer,
        ):
            return refused(401, 105, "InvalidCredentials")
        account = self.facts.account(asked.headers.get("customeraccountid", ""))
        if account is None:
            return refused(403, 106, "UserIsNotAuthorized")
        return self._route(asked, account, asked.json)

    def _route(self, asked: Asked, account: AdAccount, body: dict[str, Any]) -> Answer:
        match asked.path:
            case "Reporting/v13/GenerateReport/Submit":
                return Answer({"ReportRequestId": self._order(account, body["ReportRequest"])})
            case "Reporting/v13/GenerateReport/Poll":
                return self._look(asked, body["ReportRequestId"])
            case "Bulk/v13/Campaigns/DownloadByAccountIds":
                return Answer({"DownloadRequestId": self._order(account, body)})
            case "Bulk/v13/BulkDownloadStatus/Query":
                return self._look(asked, body["RequestId"])
            case "CustomerManagement/v13/Account/Query":
                return Answer({"Account": _account(account, self._customer)})
        return refused(404, 0, "NotFound")

    def _order(self, account: AdAccount, request: dict[str, Any]) -> str:
        name = f"{30_000_000_000 + len(self.jobs) + 1}"
        self.jobs[name] = _Job(account, request)
        return name

    def _token(self, asked: Asked) -> Answer:
        wanted = f"microsoft-refresh-{self.tokens_given}"
        if asked.form.get("refresh_token") != wanted:
            return Answer({"error": "invalid_grant", "error_description": "AADSTS70000: the grant is not valid"}, 400)
        self.tokens_given += 1
        return Answer(
            {
                "access_token": f"microsoft-access-{self.tokens_given}",
                "refresh_token": f"microsoft-refresh-{self.tokens_given}",
                "expires_in": 3_600,
            }
        )

    def _look(self, asked: Asked, name: str) -> Answer:
        job = self.jobs[name]
        job.looks += 1
        ending = self.endings.get(list(self.jobs).index(name))
        storage = self.storage or f"http://{asked.headers['host']}/microsoft_ads"
        address = f"{storage}/files/{name}?sig=s1"
        if job.is_bulk:
            ending = ending or "Completed" if job.looks > 1 else "InProgress"
            percent = 50 if ending == "InProgress" else 100
            url = address if ending == "Completed" else None
            return Answer({"PercentComplete": percent, "RequestStatus": ending, "ResultFileUrl": url, "Errors": []})
        ending = ending or "Success" if job.looks > 1 else "Pending"
        # A report without a row has no file.
        url = address if ending == "Success" and job.rows() else None
        return Answer({"ReportRequestStatus": {"Status": ending, "ReportDownloadUrl": url}})


def report_file(job: _Job) -> bytes:
    """Return a file as the service hands it out: one CSV with a byte order mark, in a zip archive."""
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    if job.is_bulk:
        writer.writerow(_BULK_COLUMNS)
        rows = _bulk_rows(job.account, job.request["DownloadEntities"])
        writer.writerows([values.get(name, "") for name in _BULK_COLUMNS] for values in rows)
    else:
        writer.writerow(job.request["Columns"])
        for row in job.rows():
            values = _values(job.account, row)
            writer.writerow([values.get(name, "--") for name in job.request["Columns"]])
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("report.csv", b"\xef\xbb\xbf" + text.getvalue().encode())
    return packed.getvalue()


def _values(account: AdAccount, row: AdDay) -> dict[str, str]:
    return {
        "TimePeriod": f"{row.day}",
        "AccountId": account.id,
        "CurrencyCode": account.currency,
        "CampaignId": row.campaign_id,
        "CampaignName": row.campaign_name,
        "AdGroupId": row.ad_group_id,
        "AdGroupName": row.ad_group_name,
        "AdId": row.ad_id,
        "KeywordId": row.keyword_id,
        "Keyword": row.keyword,
        "DeliveredMatchType": "Exact",
        "Impressions": str(row.impressions),
        "Clicks": str(row.clicks),
        "Spend": f"{row.spend:.2f}",
        "ConversionsQualified": f"{row.conversions:.2f}",
        "Revenue": f"{row.value:.2f}" if row.value else "--",
    }


def _bulk_rows(account: AdAccount, wanted: list[str]) -> Iterator[dict[str, str]]:
    """Yield what every bulk file begins with, and the entities."""
    yield {"Type": "Format Version", "Name": "6.0"}
    yield {"Type": "Account", "Status": "Active", "Id": account.id, "Sync Time": "11/24/2026 12:00:00"}
    for name in wanted:
        yield from (_entity(account, row, _ENTITIES[name]) for row in account.members(_ENTITIES[name]))


def _entity(account: AdAccount, row: AdDay, level: Level) -> dict[str, str]:
    names = {"Status": "Active", "Id": getattr(row, f"{level}_id"), "Campaign": row.campaign_name}
    if level == "campaign":
        budget = {"Budget": "50.10", "Budget Type": "DailyBudgetStandard", "Bid Strategy Type": "MaxConversions"}
        kind = {"Type": "Campaign", "Campaign Type": row.objective.title(), "Time Zone": _ZONES[account.timezone]}
        return {**names, **kind, **budget, "Parent Id": account.id}
    names["Ad Group"] = row.ad_group_name
    if level == "ad_group":
        kind = {"Type": "Ad Group", "Ad Group Type": "SearchStandard", "Language": "English"}
        return {**names, **kind, "Parent Id": row.campaign_id}
    told = {"Editorial Status": "Active", "Final Url": "https://shop.example/"}
    return {**names, **told, "Type": "Responsive Search Ad", "Parent Id": row.ad_group_id}


def _account(account: AdAccount, customer: str) -> dict[str, Any]:
    return {
        "Id": account.id,
        "Name": account.name,
        "Number": f"F{account.id[-7:]}",
        "ParentCustomerId": customer,
        "CurrencyCode": account.currency,
        "TimeZone": _ZONES[account.timezone],
        "AccountLifeCycleStatus": "Active",
        "PaymentMethodType": None,
    }


def _date(parts: dict[str, int]) -> date:
    return date(parts["Year"], parts["Month"], parts["Day"])


def refused(status: int, code: int, word: str) -> Answer:
    """Return an error in the form that the service gives it."""
    error = {"Code": code, "ErrorCode": word, "Message": f"{word}: see the documentation.", "Detail": None}
    return Answer({"TrackingId": "t1", "Type": "AdApiFaultDetail", "Errors": [error]}, status)
