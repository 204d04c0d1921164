"""The clients of Klaviyo, TikTok, LinkedIn and Microsoft Ads against the fakes of their services."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from infra.sample.channels.facts import AdAccount, AdDay, Facts
from infra.sample.channels.klaviyo import KlaviyoFake
from infra.sample.channels.linkedin_ads import LinkedinAdsFake
from infra.sample.channels.microsoft_ads import MicrosoftAdsFake, report_file
from infra.sample.channels.tiktok_ads import TiktokAdsFake
from tasks.marketing.microsoft_ads.config import ENTITIES, METRICS, REPORTS, ZONES
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


def test_tiktoks_client_reads_the_same_rows_and_asks_as_the_channel_does(tmp_path: Path) -> None:
    import business_api_client as tiktok

    account = AdAccount("7000000000000000001", "First", "Europe/Berlin")
    for number in range(5):
        below = {"ad_group_id": "21", "ad_group_name": "group", "ad_id": f"3{number}", "ad_name": "picture"}
        account.put(AdDay(TODAY, f"{number}", f"c{number}", 100, 10, Decimal("10.10") + number, Decimal(2), **below))
    fake = TiktokAdsFake(Facts(account))
    tables = {"campaigns": {"lookback": "1d", "step": "1d"}, "advertiser_list": {}, "campaign_list": {}, "ad_list": {}}
    source = {"kind": "tiktok_ads", "access_token": "tiktok-token", "advertisers": [account.id], "rows": 2}
    with serving(tiktok_ads=fake) as url:
        pulls = Pulls(tmp_path, {**source, "base_url": f"{url}/tiktok_ads", "tables": tables})
        for table in tables:
            pulls.pull(table)
        ours = {asked.path: set(asked.query) for asked in fake.log}
        del fake.log[:]
        configuration = tiktok.Configuration()
        configuration.host = f"{url}/tiktok_ads"
        client = tiktok.ApiClient(configuration)
        report = tiktok.ReportingApi(client).report_integrated_get(
            "BASIC",
            "tiktok-token",
            advertiser_id=account.id,
            service_type="AUCTION",
            data_level="AUCTION_CAMPAIGN",
            dimensions=["campaign_id", "stat_time_day"],
            metrics=["campaign_name", "spend"],
            start_date=TODAY.isoformat(),
            end_date=TODAY.isoformat(),
            page=1,
            page_size=10,
        )
        page = {"page": 1, "page_size": 10}
        campaigns = tiktok.CampaignCreationApi(client).campaign_get(account.id, "tiktok-token", **page)
        ads = tiktok.AdApi(client).ad_get(account.id, "tiktok-token", **page)
        advertisers = tiktok.AccountManagementApi(client).advertiser_info([account.id], "tiktok-token", fields=["name"])
        theirs = {asked.path: set(asked.query) for asked in fake.log}
    assert ours == theirs
    landed = {row["campaign_id"]: row["spend"] for row in pulls.last("campaigns")}
    assert {row["dimensions"]["campaign_id"]: row["metrics"]["spend"] for row in report["data"]["list"]} == landed
    for answer, name, table in (
        (campaigns, "campaign_id", "campaign_list"),
        (ads, "ad_id", "ad_list"),
        (advertisers, "name", "advertiser_list"),
    ):
        assert [row[name] for row in answer["data"]["list"]] == [row[name] for row in pulls.last(table)]


def test_linkedins_client_reads_the_same_rows_and_asks_as_the_channel_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Not in the locks: whoever downloads it agrees to LinkedIn's terms, which ask for an agreement on the API.
    reason = "linkedin-api-client 0.3 is not installed: see its licence, then `pip install linkedin-api-client`"
    pytest.importorskip("linkedin_api", reason=reason)
    from linkedin_api.clients.restli.client import RestliClient
    from linkedin_api.common import constants

    account = AdAccount("7", "First")
    for number in range(5):
        below = {"ad_group_id": f"2{number}", "ad_group_name": "group"}
        account.put(AdDay(TODAY, f"{number}", f"c{number}", 100, 10, Decimal("10.10") + number, **below))
    fake = LinkedinAdsFake(Facts(account))
    tables = {"campaign_groups": {"lookback": "1d", "step": "1d"}, "account_list": {}, "campaign_list": {}}
    with serving(linkedin_ads=fake) as url:
        source = {"kind": "linkedin_ads", "access_token": "linkedin-token", "base_url": f"{url}/linkedin_ads"}
        pulls = Pulls(tmp_path, {**source, "tables": tables})
        for table in tables:
            pulls.pull(table)
        ours = {asked.path: asked.query for asked in fake.log}
        del fake.log[:]
        monkeypatch.setattr(constants, "VERSIONED_BASE_URL", f"{url}/linkedin_ads/rest")
        token = {"access_token": "linkedin-token", "version_string": "202610"}
        client, search = RestliClient(), {"finder_name": "search"}
        day = {"year": TODAY.year, "month": TODAY.month, "day": TODAY.day}
        query = {"pivot": "CAMPAIGN_GROUP", "timeGranularity": "DAILY", "accounts": ["urn:li:sponsoredAccount:7"]}
        query |= {"dateRange": {"start": day, "end": day}, "fields": "dateRange,pivotValues,costInLocalCurrency"}
        rows = client.finder(resource_path="/adAnalytics", finder_name="analytics", query_params=query, **token)
        keys = {"resource_path": "/adAccounts/{id}", "path_keys": {"id": "7"}}
        found = client.get(**keys, **token)
        client.finder(resource_path="/adAccounts", query_params={"pageSize": 100}, **search, **token)
        keys["resource_path"] += "/adCampaigns"
        campaigns = client.finder(**keys, query_params={"pageSize": 100}, **search, **token)
        theirs = {asked.path: asked.query for asked in fake.log}
    assert {path: set(query) for path, query in theirs.items()} == {path: set(query) for path, query in ours.items()}
    landed = {f"urn:li:sponsoredCampaignGroup:{row['campaign_group_id']}": row for row in pulls.last("campaign_groups")}
    spent = {name: row["costInLocalCurrency"] for name, row in landed.items()}
    assert {row["pivotValues"][0]: row["costInLocalCurrency"] for row in rows.elements} == spent
    assert len(spent) == 5 and found.entity["name"] == pulls.last("account_list")[0]["name"] == "First"
    assert [str(row["id"]) for row in campaigns.elements] == [row["id"] for row in pulls.last("campaign_list")]


def test_linkedins_fake_takes_structures_as_restli_encodes_them() -> None:
    account = AdAccount("7", "First")
    account.put(AdDay(TODAY, "1", "c1", 100, 10, Decimal("10.10")))
    account.put(AdDay(TODAY.replace(day=1), "1", "c1", 100, 10, Decimal("20.20")))
    # The client's own order is that of the names.
    day = f"(day:{TODAY.day},month:{TODAY.month},year:{TODAY.year})"
    query = f"accounts=List(urn%3Ali%3AsponsoredAccount%3A7)&dateRange=(end:{day},start:{day})"
    query += "&fields=costInLocalCurrency&pivot=CAMPAIGN_GROUP&q=analytics&timeGranularity=DAILY"
    headers = {"authorization": "Bearer linkedin-token", "linkedin-version": "202610"}
    with serving(linkedin_ads=LinkedinAdsFake(Facts(account))) as url:
        found = httpx.get(f"{url}/linkedin_ads/rest/adAnalytics?{query}", headers=headers)
    assert found.json()["elements"] == [{"costInLocalCurrency": "10.10"}]


@pytest.fixture
def microsoft(tmp_path: Path) -> Iterator[tuple[Pulls, MicrosoftAdsFake]]:
    """A fake with one campaign, and a source that reads it."""
    account = AdAccount("7", "First")
    below = {"ad_group_id": "21", "ad_group_name": "group", "ad_id": "31"}
    account.put(AdDay(TODAY, "1", "c1", 100, 10, Decimal("10.10"), Decimal(2), Decimal(0), **below))
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
            "tables": {name: {} for name in ("campaigns", *ENTITIES)},
        }
        yield Pulls(tmp_path, source), fake


def test_microsofts_definitions_know_each_order_and_its_client_reads_the_report(
    microsoft: tuple[Pulls, MicrosoftAdsFake], tmp_path: Path
) -> None:
    from bingads.service_client import ServiceClient
    from bingads.v13.reporting import ReportFileReader

    pulls, fake = microsoft
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


def test_microsofts_definitions_know_each_list_and_its_client_reads_the_file(
    microsoft: tuple[Pulls, MicrosoftAdsFake], tmp_path: Path
) -> None:
    from bingads.service_client import ServiceClient
    from bingads.v13.bulk import BulkFileReader
    from bingads.v13.bulk.entities import BulkAccount, BulkAdGroup, BulkCampaign, BulkResponsiveSearchAd
    from bingads.v13.internal.bulk.string_table import _StringTable

    pulls, fake = microsoft
    for name in ENTITIES:
        pulls.pull(name)
    asked = {one.path.partition("/v13/")[2]: one.json for one in fake.log if "/v13/" in one.path}
    customer, bulk = (ServiceClient(name, 13).factory for name in ("CustomerManagementService", "BulkService"))
    accept(customer, customer.create("GetAccountRequest"), asked["Account/Query"])
    accept(bulk, bulk.create("GetBulkDownloadStatusRequest"), asked["BulkDownloadStatus/Query"])
    known = {name for name, _ in customer.create("ns5:AdvertiserAccount")}
    assert set(ENTITIES["account_list"].columns.values()) <= known
    headers = {value for name, value in vars(_StringTable).items() if name[0] != "_"}
    files = {}
    for job in fake.jobs.values():
        (entity,) = job.request["DownloadEntities"]
        accept(bulk, bulk.create("DownloadCampaignsByAccountIdsRequest"), job.request)
        with zipfile.ZipFile(io.BytesIO(report_file(job))) as archive:
            archive.extract("report.csv", tmp_path)
        with BulkFileReader(str(tmp_path / "report.csv")) as reader:
            files[entity] = list(reader)
    for entity in ENTITIES.values():
        assert not entity.download or set(entity.columns.values()) <= headers
    kinds = [BulkCampaign, BulkAdGroup, BulkResponsiveSearchAd]
    assert [[type(row) for row in rows] for rows in files.values()] == [[BulkAccount, kind] for kind in kinds]
    campaign, group, ad = (rows[1] for rows in files.values())
    assert (campaign.account_id, campaign.campaign.Id, campaign.campaign.Name) == (7, 1, "c1")
    assert (group.campaign_id, group.ad_group.Id, group.ad_group.Status) == (1, 21, "Active")
    assert (ad.ad_group_id, ad.responsive_search_ad.Id) == (21, 31)
    (account,), (listed,), (below,), (shown,) = (pulls.last(name) for name in ENTITIES)
    assert account["account_name"] == "First" and listed["budget"] == "50.10"
    assert (below["ad_group_id"], below["campaign_id"]) == ("21", "1")
    assert (shown["ad_id"], shown["ad_group_id"]) == ("31", "21")


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
