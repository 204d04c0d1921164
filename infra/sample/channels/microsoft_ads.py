"""A fake of Microsoft Advertising's reporting: ordered, polled, and handed out as zipped CSV at another address."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from dataclasses import dataclass
from datetime import date
from typing import Any

from infra.sample.channels.facts import AdAccount, AdDay, Facts
from infra.sample.channels.server import Answer, Asked, Fake

_PATH = re.compile(r"^Reporting/(?P<version>v\d+)/GenerateReport/(?P<verb>Submit|Poll)$")


@dataclass
class _Job:
    account: AdAccount
    request: dict[str, Any]
    looks: int = 0

    def rows(self) -> list[AdDay]:
        days = self.request["Time"]
        first, last = (_date(days[name]) for name in ("CustomDateRangeStart", "CustomDateRangeEnd"))
        return list(self.account.between(first, last))


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

    def answer(self, asked: Asked) -> Answer:
        """See `Fake`."""
        if asked.path == "token":
            return self._token(asked)
        if asked.path.startswith("files/"):
            # A storage refuses an address with a signature that comes with other credentials too.
            if "authorization" in asked.headers or "developertoken" in asked.headers:
                return Answer(b"<Error>InvalidAuthenticationInfo</Error>", 400)
            return Answer(report_file(self.jobs[asked.path.removeprefix("files/")]), headers={"content-type": "zip"})
        match = _PATH.match(asked.path)
        if match is None:
            return refused(404, 0, "NotFound")
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
        if match["verb"] == "Submit":
            name = f"{30_000_000_000 + len(self.jobs) + 1}"
            self.jobs[name] = _Job(account, asked.json["ReportRequest"])
            return Answer({"ReportRequestId": name})
        return self._look(asked, asked.json["ReportRequestId"])

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
        ending = self.endings.get(list(self.jobs).index(name), "Success") if job.looks > 1 else "Pending"
        # A report without a row has no file.
        address = f"http://{asked.headers['host']}/microsoft_ads/files/{name}?sig=s1" if job.rows() else None
        status = {"Status": ending, "ReportDownloadUrl": address if ending == "Success" else None}
        return Answer({"ReportRequestStatus": status})


def report_file(job: _Job) -> bytes:
    """Return a report as the service hands it out: one CSV with a byte order mark, in a zip archive."""
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
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
        "Impressions": str(row.impressions),
        "Clicks": str(row.clicks),
        "Spend": f"{row.spend:.2f}",
        "ConversionsQualified": f"{row.conversions:.2f}",
        "Revenue": f"{row.value:.2f}" if row.value else "--",
    }


def _date(parts: dict[str, int]) -> date:
    return date(parts["Year"], parts["Month"], parts["Day"])


def refused(status: int, code: int, word: str) -> Answer:
    """Return an error in the form that the service gives it."""
    error = {"Code": code, "ErrorCode": word, "Message": f"{word}: see the documentation.", "Detail": None}
    return Answer({"TrackingId": "t1", "Type": "AdApiFaultDetail", "Errors": [error]}, status)
