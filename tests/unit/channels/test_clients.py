"""The clients of Klaviyo and Microsoft Ads against the fakes of their services."""

from __future__ import annotations

import io
import zipfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx

from infra.sample.channels.facts import AdAccount, AdDay, Facts
from infra.sample.channels.klaviyo import KlaviyoFake
from infra.sample.channels.microsoft_ads import MicrosoftAdsFake, report_file
from tasks.marketing.microsoft_ads.config import METRICS, REPORTS, ZONES
from tests.channels import NOW, Pulls, serving

TODAY = NOW.date()


def test_klaviyos_client_reads_the_same_pages() -> None:
    from klaviyo_api import KlaviyoAPI

    fake = KlaviyoFake()
    fake.page_size = 2
    for number in range(5):
        fake.records["profiles"][f"p{number}"] = {"email": f"{number}@example.com", "updated": f"2026-11-2{number}"}
    with serving(klaviyo=fake) as url:
        client = KlaviyoAPI("pk_secret", max_retries=1, test_host=f"{url}/klaviyo")
        (account,) = client.Accounts.get_accounts().data
        pages, cursor = [], None
        while True:
            page = client.Profiles.get_profiles(page_cursor=cursor, sort="updated")
            pages.append([(row.id, row.attributes.email) for row in page.data])
            if page.links.next is None:
                break
            # The client itself takes the cursor out of addresses of https alone.
            cursor = httpx.URL(page.links.next).params["page[cursor]"]
    assert (account.id, account.attributes.timezone) == ("AbC123", "Europe/Berlin")
    assert [len(page) for page in pages] == [2, 2, 1]
    assert [row for page in pages for row in page] == [(f"p{n}", f"{n}@example.com") for n in range(5)]


def test_microsofts_definitions_know_each_order_and_its_client_reads_the_report(tmp_path: Path) -> None:
    from bingads.service_client import ServiceClient
    from bingads.v13.reporting import ReportFileReader

    account = AdAccount("7", "First")
    account.put(AdDay(TODAY, "1", "c1", 100, 10, Decimal("10.10"), Decimal(2), Decimal(0)))
    fake = MicrosoftAdsFake(Facts(account))
    with serving(microsoft_ads=fake) as url:
        source = {
            "kind": "microsoft_ads",
            "base_url": f"{url}/microsoft_ads",
            "token_url": f"{url}/microsoft_ads/token",
            "developer_token": "developer-token",
            "client_id": "c",
            "client_secret": "microsoft-secret",
            "refresh_token": "microsoft-refresh-0",
            "customer": "100",
            "accounts": ["7"],
            "timezone": "Europe/Berlin",
            "tables": {"campaigns": {}},
        }
        pulls = Pulls(tmp_path, source)
        pulls.pull("campaigns")
    # The definitions are a file of the client; its transport is SOAP, ours the JSON of the same messages.
    factory = ServiceClient("ReportingService", 13).factory
    job = next(iter(fake.jobs.values()))
    order = dict(job.request)
    accept(factory, factory.create(order.pop("Type")), order)
    for kind, names, _ in REPORTS.values():
        assert {*names.values(), *METRICS.values()} <= words(factory, kind.replace("Request", "Column"))
    assert set(ZONES.values()) <= words(factory, "ReportTimeZone")
    assert words(factory, "ReportRequestStatusType") == {"Pending", "Success", "Error"}

    with zipfile.ZipFile(io.BytesIO(report_file(job))) as archive:
        archive.extract("report.csv", tmp_path)
    (row,) = ReportFileReader(str(tmp_path / "report.csv"), "Csv").get_report().report_records
    assert (row.value("TimePeriod"), row.int_value("Impressions"), row.value("Spend")) == (f"{TODAY}", 100, "10.10")


def words(factory: Any, name: str) -> set[str]:
    """Return the words of an enumeration."""
    return {word for word, _ in factory.create(name)}


def accept(factory: Any, made: Any, content: Any) -> None:
    """Fail unless a message is one of the type of `made`: no field that it has not, no word that is none of its."""
    kind = type(made).__name__
    if isinstance(content, dict):
        for name, inner in content.items():
            assert name in made, f"{kind} has no {name}"
            accept(factory, made[name], inner)
    elif isinstance(content, list):
        ((name, _),) = made
        for inner in content:
            # An array of numbers has no type of its own.
            accept(factory, factory.create(name) if name[0].isupper() else None, inner)
    elif made is not None:
        assert content in words(factory, kind), f"{kind} is never {content}"
