"""Each channel against its fake over real HTTP, and each fake read by the vendor's own client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from infra.sample.channels import ga4, google_ads, linkedin_ads, meta_ads, microsoft_ads, tiktok_ads
from infra.sample.channels.facts import AdAccount, AdDay, Facts
from infra.sample.channels.server import Answer, Fake
from tasks.errors import QuotaExhausted, SourceError
from tasks.marketing.rest.check import check
from tasks.marketing.rest.errors import VersionEnded
from tasks.marketing.rest.extract import AccountsFailed
from tasks.sources.connector import Finding
from tests.channels import NOW, Pulls, serving

TODAY = NOW.date()
YESTERDAY = TODAY - timedelta(days=1)
FIRST, SECOND = "9007199254740993", "7000000000000000002"


def facts() -> Facts:
    accounts = [AdAccount(FIRST, "First"), AdAccount(SECOND, "Second", "America/Los_Angeles", "USD")]
    for account in accounts:
        for offset in range(3):
            day = TODAY - timedelta(days=offset)
            for number in range(3):
                spend = Decimal("10.10") + number
                account.put(AdDay(day, f"{number + 1}", f"c{number + 1}", 100, 10, spend, Decimal(2), Decimal("19.99")))
    return Facts(*accounts)


def key_of_service_account(url: str) -> str:
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    private = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return json.dumps({"client_email": "a@b.iam.example", "private_key": pem, "private_key_id": "k1", "token_uri": url})


def source(kind: str, url: str, table: str, **more: Any) -> dict[str, Any]:
    base = {"kind": kind, "base_url": f"{url}/{kind}", "tables": {table: more.pop("options", {})}}
    own: dict[str, Any] = {
        "google_ads": {
            "developer_token": "developer-token",
            "manager": "100-000-0001",
            "credentials": {
                "client_id": "c",
                "client_secret": "google-secret",
                "refresh_token": "google-refresh",
                "token_url": f"{url}/google_ads/token",
            },
        },
        "meta_ads": {"access_token": "meta-token"},
        "tiktok_ads": {"access_token": "tiktok-token", "advertisers": [FIRST, SECOND], "rows": 2},
        "linkedin_ads": {"access_token": "linkedin-token"},
        "microsoft_ads": {
            "developer_token": "developer-token",
            "client_id": "c",
            "client_secret": "microsoft-secret",
            "refresh_token": "microsoft-refresh-0",
            "token_url": f"{url}/microsoft_ads/token",
            "customer": "100",
            "accounts": [FIRST, SECOND],
            "timezone": "Europe/Berlin",
        },
    }
    return {**base, **own.get(kind, {}), **more}


FAKES: dict[str, Any] = {
    "google_ads": google_ads.GoogleAdsFake,
    "meta_ads": meta_ads.MetaAdsFake,
    "tiktok_ads": tiktok_ads.TiktokAdsFake,
    "linkedin_ads": linkedin_ads.LinkedinAdsFake,
    "microsoft_ads": microsoft_ads.MicrosoftAdsFake,
}
TABLES = {
    "google_ads": ("campaigns", "segments_date"),
    "meta_ads": ("campaigns", "date_start"),
    "tiktok_ads": ("campaigns", "stat_time_day"),
    "linkedin_ads": ("campaign_groups", "date"),
    "microsoft_ads": ("campaigns", "date"),
}


def money(kind: str, row: dict[str, Any]) -> Decimal:
    if kind == "google_ads":
        return Decimal(row["cost_micros"]) / 1_000_000
    return Decimal(row["costInLocalCurrency" if kind == "linkedin_ads" else "spend"])


@pytest.mark.parametrize("kind", sorted(FAKES))
def test_rows_are_those_of_the_service(kind: str, tmp_path: Path) -> None:
    fake: Fake = FAKES[kind](facts())
    table, day = TABLES[kind]
    with serving(**{kind: fake}) as url:
        pulls = Pulls(tmp_path, source(kind, url, table))
        pulls.pull(table)
    rows = pulls.last(table)
    found = {
        (row["account_id"], row[day]): money(kind, row)
        for row in rows
        if row.get("campaign_id", row.get("campaign_group_id")) == "2"
    }
    days = {TODAY - timedelta(days=offset) for offset in range(3)}
    # In California the 24th has begun at 08:00 UTC; LinkedIn's days are those of UTC.
    assert found == {(name, one): Decimal("11.10") for name in (FIRST, SECOND) for one in days}
    assert len(rows) == 18
    # Activity alone decides which rows there are: a campaign that nobody has changed for a year has its clicks.
    assert not any(word in one.path for one in fake.log for word in ("adCampaigns", "lastModified"))


@pytest.mark.parametrize("kind", sorted(FAKES))
def test_a_day_that_is_told_again_has_its_new_rows_and_not_those_that_are_gone(kind: str, tmp_path: Path) -> None:
    known = facts()
    table, day = TABLES[kind]
    with serving(**{kind: FAKES[kind](known)}) as url:
        pulls = Pulls(tmp_path, source(kind, url, table))
        pulls.pull(table)
        known.accounts[FIRST].put(AdDay(YESTERDAY, "1", "c1", 100, 10, Decimal("0.07")))
        known.accounts[FIRST].drop(YESTERDAY, "2")
        known.accounts[SECOND].drop(YESTERDAY)
        pulls.pull(table)
    manifest = pulls.manifests(table)[-1]
    told = [(row["account_id"], money(kind, row)) for row in pulls.rows(manifest) if row[day] == YESTERDAY]
    assert sorted(told) == [(FIRST, Decimal("0.07")), (FIRST, Decimal("12.10"))]
    # The day of the second account, which has no rows, is replaced as well.
    days = [(part.from_, part.to) for part in manifest.scope.parts if part.account == SECOND]  # type: ignore[union-attr]
    assert any(first <= YESTERDAY.isoformat() <= last for first, last in days)


LISTS = {
    "google_ads": ("account_list", "campaign_list", None, "ad_list"),
    "meta_ads": ("account_list", "campaign_list", "ad_set_list", "ad_list"),
    "tiktok_ads": ("advertiser_list", "campaign_list", "ad_group_list", "ad_list"),
    "linkedin_ads": ("account_list", "campaign_group_list", "campaign_list", "creative_list"),
    "microsoft_ads": ("account_list", "campaign_list", "ad_group_list", "ad_list"),
}
LEVELS = {
    "google_ads": {"accounts": 0, "campaigns": 1, "ad_groups": 2, "ads": 3, "keywords": 4},
    "meta_ads": {"accounts": 0, "campaigns": 1, "ad_sets": 2, "ads": 3},
    "tiktok_ads": {"advertisers": 0, "campaigns": 1, "ad_groups": 2, "ads": 3},
    "linkedin_ads": {"accounts": 0, "campaign_groups": 1, "campaigns": 2, "creatives": 3},
    "microsoft_ads": {"accounts": 0, "campaigns": 1, "ad_groups": 2, "ads": 3, "keywords": 4},
}


@pytest.mark.parametrize("kind", sorted(LEVELS))
def test_each_level_has_its_own_rows_and_all_have_the_same_spend(kind: str, tmp_path: Path) -> None:
    account = AdAccount(FIRST, "First")
    for group, ad in (("21", "31"), ("21", "32"), ("22", "33")):
        below = {"ad_group_id": group, "ad_group_name": "group", "ad_id": ad, "ad_name": "picture"}
        account.put(AdDay(TODAY, "11", "c", 100, 10, Decimal("1.10"), **below, keyword_id=f"4{ad}", keyword="shoes"))
    found = {}
    with serving(**{kind: FAKES[kind](Facts(account, AdAccount(SECOND)))}) as url:
        tables = {name: {"lookback": "1d", "step": "2d"} for name in LEVELS[kind]}
        pulls = Pulls(tmp_path, source(kind, url, "") | {"tables": tables})
        for name, level in LEVELS[kind].items():
            pulls.pull(name)
            rows = pulls.last(name)
            assert sum(money(kind, row) for row in rows) == Decimal("3.30"), name
            found[level] = {value for row in rows for value in map(str, row.values()) if value in IDS[level]}
            assert len(rows) == len(IDS[level]) or level == 0
    assert found == {level: IDS[level] for level in LEVELS[kind].values()}


IDS = [set(), {"11"}, {"21", "22"}, {"31", "32", "33"}, {"431", "432", "433"}]


@pytest.mark.parametrize("kind", sorted(LISTS))
def test_accounts_campaigns_and_ads_are_listed_and_renamed(kind: str, tmp_path: Path) -> None:
    names = [name for name in LISTS[kind] if name]
    accounts = [AdAccount(FIRST, "First"), AdAccount(SECOND, "Second")]
    for account in accounts:
        for ad in ("31", "32", "33"):
            below = {"ad_group_id": "21", "ad_group_name": "group", "ad_id": ad, "ad_name": "picture"}
            account.put(AdDay(TODAY, "11", "before", 100, 10, **below))
    with serving(**{kind: FAKES[kind](Facts(*accounts))}) as url:
        pulls = Pulls(tmp_path, source(kind, url, names[0]) | {"tables": {name: {} for name in names}})
        for name in names:
            pulls.pull(name)
        accounts[0].name = "Renamed"
        for row in accounts[0].rows.values():
            row.campaign_name = "after"
        for name in names[:2]:
            pulls.pull(name)
    found = {name: [*pulls.last(name)] for name in names}
    counts = [len(found[name]) // 2 if name else 1 for name in LISTS[kind]]
    assert counts == [1, 1, 1, 3] and all(FIRST in {row["account_id"] for row in rows} for rows in found.values())
    listed, campaigns = (
        {row["account_id"]: {str(value) for value in row.values()} for row in found[name]} for name in names[:2]
    )
    assert "Renamed" in listed[FIRST] and "Second" in listed[SECOND]
    assert {"11", "after"} <= campaigns[FIRST] and {"11", "before"} <= campaigns[SECOND]
    ads = {value for row in found[names[-1]] for value in row.values() if str(value) in ("31", "32", "33")}
    assert len(ads) == 3


@pytest.mark.parametrize("kind", sorted(FAKES))
def test_one_forbidden_account_is_named_and_stops_no_other(kind: str, tmp_path: Path) -> None:
    known = facts()
    known.accounts[FIRST].forbidden = True
    table, _ = TABLES[kind]
    with serving(**{kind: FAKES[kind](known)}) as url:
        pulls = Pulls(tmp_path, source(kind, url, table))
        with pytest.raises(AccountsFailed, match=f"1 of 2 accounts.*{FIRST}"):
            pulls.pull(table)
    assert {row["account_id"] for row in pulls.last(table)} == {SECOND}


@pytest.mark.parametrize(
    ("kind", "answer", "waited"),
    [
        ("google_ads", google_ads.refused(429, "quotaError", "RESOURCE_TEMPORARILY_EXHAUSTED", "slow down"), 30),
        ("meta_ads", meta_ads.refused(17, "User request limit reached"), 60),
        ("tiktok_ads", tiktok_ads.said(40100, "Requests made too frequently"), 5),
        ("linkedin_ads", Answer({"message": "slow down"}, 429, {"retry-after": "7"}), 7),
        ("microsoft_ads", microsoft_ads.refused(400, 117, "CallRateExceeded"), 60),
    ],
)
def test_throttling_is_waited_for(kind: str, answer: Answer, waited: int, tmp_path: Path) -> None:
    fake: Fake = FAKES[kind](facts())
    fake.fail(answer, where=lambda asked: asked.path != "token" and len(fake.log) > 4)
    table, _ = TABLES[kind]
    with serving(**{kind: fake}) as url:
        pulls = Pulls(tmp_path, source(kind, url, table))
        pulls.pull(table)
    assert any(seconds == pytest.approx(waited, abs=0.1) for seconds in pulls.clock.slept)
    assert len(pulls.last(table)) == 18


@pytest.mark.parametrize(
    ("kind", "version", "advice"),
    [
        ("google_ads", "v22", "set `version` to v26"),
        ("google_ads", "v26", "upgrade to the product's next release"),
        ("linkedin_ads", "202511", "set `version` to 202610"),
        ("meta_ads", "v24.0", "set `version` to v26.0"),
    ],
)
def test_an_ended_version_is_named_with_what_to_do(kind: str, version: str, advice: str, tmp_path: Path) -> None:
    table, _ = TABLES[kind]
    with serving(**{kind: FAKES[kind](facts(), versions=())}) as url:
        pulls = Pulls(tmp_path, source(kind, url, table, version=version))
        with pytest.raises(VersionEnded, match="has ended") as raised:
            pulls.pull(table)
    assert version in str(raised.value) and raised.value.action == advice


@pytest.mark.parametrize(
    ("left", "said", "level"),
    [
        (61, None, "ok"),
        (60, "ends in 60 days, on 2027-01-15", "warning"),
        (59, "ends in 59 days, on 2027-01-15", "warning"),
        (0, "ends in 0 days, on 2027-01-15", "warning"),
        (-1, "has ended on 2027-01-15", "wrong"),
    ],
)
def test_a_version_warns_from_60_days_before_its_last(left: int, said: str | None, level: str, tmp_path: Path) -> None:
    fake = linkedin_ads.LinkedinAdsFake(facts(), versions=("202601",))
    now = datetime(2027, 1, 15, 23, 59, tzinfo=UTC) - timedelta(days=left)
    with serving(linkedin_ads=fake) as url:
        pulls = Pulls(tmp_path, source("linkedin_ads", url, "campaign_list", version="202601"), now)
        warnings = pulls.pull("campaign_list").warnings
        first = checked(pulls, "campaign_list")[0]
    assert warnings == ((f"linkedin_ads API 202601 {said}: set `version` to 202610",) if said else ())
    assert first.level == level and "202601" in first.message and "2027-01-15" in first.message


def checked(pulls: Pulls, table: str) -> list[Finding]:
    return list(check("shop", pulls.ref(table).source, pulls.open()))  # type: ignore[arg-type]


def test_check_shows_accounts_and_first_rows(tmp_path: Path) -> None:
    with serving(tiktok_ads=tiktok_ads.TiktokAdsFake(facts())) as url:
        found = checked(Pulls(tmp_path, source("tiktok_ads", url, "campaigns")), "campaigns")
    assert [finding.level for finding in found] == ["ok"] * 3
    assert f"{FIRST} (First) in Europe/Berlin" in found[1].message and "spend=10.10" in found[2].message


def test_check_names_each_account_that_cannot_be_read(tmp_path: Path) -> None:
    found_facts = facts()
    found_facts.accounts[FIRST].forbidden = True
    with serving(tiktok_ads=tiktok_ads.TiktokAdsFake(found_facts)) as url:
        pulls = Pulls(tmp_path, source("tiktok_ads", url, "campaigns"))
        found = checked(pulls, "campaigns")
    ok, wrong = found[-2:]
    assert (wrong.level, ok.level) == ("wrong", "ok")
    assert FIRST in wrong.message and "let the advertiser authorize the app" in wrong.action
    assert SECOND in ok.message and "spend=10.10" in ok.message
    (shown,) = [one.message for one in found if one.subject == "source shop" and "account" in one.message]
    assert shown == f"account {SECOND} (Second) in America/Los_Angeles"


def test_check_tells_once_what_all_accounts_fail_by(tmp_path: Path) -> None:
    with serving(microsoft_ads=microsoft_ads.MicrosoftAdsFake(facts())) as url:
        pulls = Pulls(tmp_path, source("microsoft_ads", url, "campaigns", developer_token="another-token"))
        (found,) = [one for one in checked(pulls, "campaigns") if one.level == "wrong"]
    assert found.message.startswith(f"accounts {FIRST}, {SECOND}: the developer token or the user is not valid")
    assert "InvalidCredentials: see the documentation." in found.message and "developer portal" in found.action


def test_check_tells_which_permission_of_meta_is_missing(tmp_path: Path) -> None:
    fake = meta_ads.MetaAdsFake(facts())
    fake.permissions = ["pages_show_list"]
    with serving(meta_ads=fake) as url:
        pulls = Pulls(tmp_path, source("meta_ads", url, "campaigns"))
        found = [one for one in checked(pulls, "campaigns") if one.level == "wrong"]
    assert [one.message for one in found] == ["the token has not the permission ads_read (it has: pages_show_list)"]


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("ACCESS_TOKEN_SCOPE_INSUFFICIENT", "with the scope https://www.googleapis.com/auth/adwords"),
        ("SERVICE_DISABLED", "enable the Google Ads API in the Google Cloud project"),
        ("DEVELOPER_TOKEN_NOT_APPROVED", "apply for Basic access in the API Center"),
    ],
)
def test_check_tells_what_google_refuses(said: str, advice: str, tmp_path: Path) -> None:
    fake = google_ads.GoogleAdsFake(facts())
    code = {"errorCode": {"authorizationError": said}}
    error = {"code": 403, "message": "no", "status": "PERMISSION_DENIED"}
    error["details"] = [{"reason": said, "errors": [code]}]  # type: ignore[assignment]
    fake.fail(Answer([{"error": error}], 403), 9, lambda asked: asked.path != "token")
    with serving(google_ads=fake) as url:
        pulls = Pulls(tmp_path, source("google_ads", url, "campaigns"))
        found = [one for one in checked(pulls, "campaigns") if one.level == "wrong"]
    assert found and advice in found[0].action


# -- microsoft ------------------------------------------------------------------------------------------------


def test_reports_of_microsoft_are_made_side_by_side_and_ordered_again(tmp_path: Path) -> None:
    fake = microsoft_ads.MicrosoftAdsFake(facts())
    fake.endings[0] = "Error"
    with serving(microsoft_ads=fake) as url:
        pulls = Pulls(tmp_path, source("microsoft_ads", url, "campaigns", options={"lookback": "2d", "step": "1d"}))
        pulls.pull("campaigns")
    verbs = [asked.path.rpartition("/")[2] for asked in fake.log if "GenerateReport" in asked.path]
    assert verbs[:5] == ["Submit"] * 4 + ["Poll"] and verbs.count("Submit") == 7
    assert len(pulls.last("campaigns")) == 18


def test_what_microsoft_spells_as_nothing_is_null_and_a_report_without_rows_is_empty(tmp_path: Path) -> None:
    known = Facts(AdAccount(FIRST), AdAccount(SECOND))
    known.accounts[FIRST].put(AdDay(TODAY, "1", "c1", 100, 10, Decimal("10.10")))
    with serving(microsoft_ads=microsoft_ads.MicrosoftAdsFake(known)) as url:
        pulls = Pulls(tmp_path, source("microsoft_ads", url, "campaigns"))
        pulls.pull("campaigns")
    (row,) = pulls.last("campaigns")
    assert "revenue" not in row and (row["conversions"], row["spend"]) == ("0.00", "10.10")
    scope = pulls.manifests("campaigns")[-1].scope
    assert {part.account for part in scope.parts} == {FIRST, SECOND}  # type: ignore[union-attr]


def test_each_report_of_microsoft_is_of_the_accounts_days(tmp_path: Path) -> None:
    fake = microsoft_ads.MicrosoftAdsFake(facts())
    with serving(microsoft_ads=fake) as url:
        pulls = Pulls(tmp_path, source("microsoft_ads", url, "campaigns", options={"lookback": "2d"}))
        pulls.pull("campaigns")
    request = next(iter(fake.jobs.values())).request
    assert request["Time"]["ReportTimeZone"] == "AmsterdamBerlinBernRomeStockholmVienna"
    assert request["Time"]["CustomDateRangeStart"] == {"Day": 22, "Month": 11, "Year": 2026}
    # The refresh token that came last is kept.
    assert list(pulls.tokens.tokens.values()) == ["microsoft-refresh-1"]


# -- meta -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["Job Failed", "Job Skipped", "stuck"])
def test_a_report_of_meta_that_fails_is_ordered_again(ending: str, tmp_path: Path) -> None:
    fake = meta_ads.MetaAdsFake(facts())
    fake.endings[0] = ending
    with serving(meta_ads=fake) as url:
        pulls = Pulls(tmp_path, source("meta_ads", url, "campaigns", options={"lookback": "5d"}))
        pulls.pull("campaigns")
    assert len(pulls.last("campaigns")) == 18 and len(fake.jobs) == 3


def test_reports_of_meta_are_made_side_by_side(tmp_path: Path) -> None:
    fake = meta_ads.MetaAdsFake(facts())
    with serving(meta_ads=fake) as url:
        pulls = Pulls(tmp_path, source("meta_ads", url, "campaigns", options={"lookback": "2d", "step": "1d"}))
        pulls.pull("campaigns")
    asked = [(one.method, one.path.rpartition("/")[2]) for one in fake.log]
    orders = [number for number, one in enumerate(asked) if one == ("POST", "insights")]
    first_look = next(number for number, one in enumerate(asked) if one[1] in fake.jobs)
    # Two accounts, three days each: all are ordered before the first is waited for, and none twice.
    assert len(orders) == len(fake.jobs) == 6 and max(orders) < first_look
    # A small report is there at once; waits begin short, and grow.
    assert pulls.clock.slept[:2] == [0.25, 0.375]
    assert len(pulls.last("campaigns")) == 18


def test_a_report_that_cannot_be_ordered_fails_its_own_account(tmp_path: Path) -> None:
    found_facts = facts()
    found_facts.accounts[FIRST].forbidden = True
    with serving(meta_ads=meta_ads.MetaAdsFake(found_facts)) as url:
        pulls = Pulls(tmp_path, source("meta_ads", url, "campaigns", options={"lookback": "2d", "step": "1d"}))
        with pytest.raises(AccountsFailed, match="1 of 2 accounts") as raised:
            pulls.pull("campaigns")
    assert len(pulls.last("campaigns")) == 9 and raised.value.done.rows_landed == 9


def test_pages_of_meta_are_made_smaller(tmp_path: Path) -> None:
    fake = meta_ads.MetaAdsFake(facts())
    said = meta_ads.refused(1, "Please reduce the amount of data you're asking for, then retry your request", 500)
    fake.fail(said, 2, lambda asked: asked.method == "GET" and asked.path.endswith("/insights"))
    with serving(meta_ads=fake) as url:
        pulls = Pulls(tmp_path, source("meta_ads", url, "campaigns", rows=8, options={"lookback": "5d"}))
        pulls.pull("campaigns")
    assert "2" in {asked.query.get("limit") for asked in fake.log} and len(pulls.last("campaigns")) == 18


def test_usage_near_its_limit_slows_down(tmp_path: Path) -> None:
    fake = meta_ads.MetaAdsFake(facts())
    fake.usage = 96.0
    with serving(meta_ads=fake) as url:
        pulls = Pulls(tmp_path, source("meta_ads", url, "campaigns", options={"lookback": "5d"}))
        result = pulls.pull("campaigns")
    assert 240.0 in pulls.clock.slept
    assert any("waited" in told and "busy" in told for told in result.warnings)


def test_actions_of_meta_are_counted_once(tmp_path: Path) -> None:
    with serving(meta_ads=meta_ads.MetaAdsFake(facts())) as url:
        pulls = Pulls(tmp_path, source("meta_ads", url, "campaign_actions", options={"lookback": "5d"}))
        pulls.pull("campaign_actions")
    rows = pulls.last("campaign_actions")
    assert len(rows) == 3 * 18
    counted = [row for row in rows if row["is_counted"]]
    assert sum(Decimal(row["actions"]) for row in counted) == 18 * 2
    assert {row["action_type"] for row in counted} == {"omni_purchase"} and {row["attribution"] for row in rows} == {
        "7d_click,1d_view"
    }


# -- google ads -----------------------------------------------------------------------------------------------


def test_conversions_of_google_by_action_are_those_of_the_campaign_and_tell_no_spend(tmp_path: Path) -> None:
    tables = {"campaigns": {}, "conversions": {}}
    with serving(google_ads=google_ads.GoogleAdsFake(facts())) as url:
        pulls = Pulls(tmp_path, source("google_ads", url, "") | {"tables": tables})
        for table in tables:
            pulls.pull(table)
    whole, by_action = (pulls.last(table) for table in tables)
    for metric in ("conversions", "conversions_value", "all_conversions"):
        figures = [sum(Decimal(str(row[metric])) for row in rows) for rows in (whole, by_action)]
        assert figures[0] == figures[1] > 0, metric
    assert (len(whole), len(by_action)) == (18, 36)
    assert {row["segments_conversion_action_name"] for row in by_action} == {"Purchase", "Add to cart"}
    assert not any("cost_micros" in row for row in by_action)


# -- analytics ------------------------------------------------------------------------------------------------


def analytics(tmp_path: Path, url: str, **more: Any) -> Pulls:
    credentials = {"key": key_of_service_account(f"{url}/ga4/token")}
    base = {"kind": "ga4", "base_url": f"{url}/ga4", "credentials": credentials, "properties": ["1", "2"]}
    return Pulls(tmp_path, {**base, "tables": {"sessions": {"lookback": "1d"}}, **more})


def visits(day: date, count: int) -> list[dict[str, Any]]:
    return [
        {"sessionSource": f"s{number:06d}", "sessionMedium": "cpc", "sessions": 1, "purchaseRevenue": "1.10"}
        for number in range(count)
    ]


def properties() -> tuple[ga4.Property, ga4.Property]:
    found = ga4.Property("1"), ga4.Property("2", "Pacific/Auckland", "NZD")
    for one in found:
        for offset in range(-1, 3):
            one.put(TODAY - timedelta(days=offset), visits(TODAY, 25))
    return found


def test_all_pages_of_analytics_are_read_whatever_the_order_of_their_headers(tmp_path: Path) -> None:
    first, second = properties()
    first.flags = {
        "dataLossFromOtherRow": True,
        "samplingMetadatas": [{"samplesReadCount": "500", "samplingSpaceSize": "9000"}],
    }
    fake = ga4.Ga4Fake(first, second)
    fake.reorders = True
    with serving(ga4=fake) as url:
        pulls = analytics(tmp_path, url, rows=10)
        pulls.pull("sessions")
    rows = pulls.last("sessions")
    assert len(rows) == 100
    assert sum(row["sessions"] for row in rows) == 100 and {row["purchase_revenue"] for row in rows} == {"1.10"}
    # It is the 25th in Auckland already.
    assert max(row["date"] for row in rows if row["account_id"] == "2") == TODAY + timedelta(days=1)
    assert {
        (row["data_loss_from_other_row"], row.get("sampling_space")) for row in rows if row["account_id"] == "1"
    } == {(True, 9000)}
    assert fake.tokens_given == 1


def test_what_analytics_says_of_the_quality_of_a_report_stands_in_its_rows(tmp_path: Path) -> None:
    plain, hidden = ga4.Property("1"), ga4.Property("2")
    plain.put(TODAY, [{"sessionSource": source, "sessions": 1} for source in ("news", "(other)")])
    hidden.put(TODAY, [{"sessionSource": "news", "sessions": 1}])
    hidden.flags = {"subjectToThresholding": True, "samplingMetadatas": [{"samplesReadCount": "5"}]}
    with serving(ga4=ga4.Ga4Fake(plain, hidden)) as url:
        pulls = analytics(tmp_path, url)
        pulls.pull("sessions")
    columns = ("account_id", "session_source", "is_other_row", "subject_to_thresholding")
    found = {tuple(row[name] for name in columns): row.get("samples_read") for row in pulls.last("sessions")}
    assert found == {
        ("1", "news", False, False): None,
        ("1", "(other)", True, False): None,
        ("2", "news", False, True): 5,
    }


@contextmanager
def read_once(tmp_path: Path) -> Iterator[tuple[ga4.Property, Pulls, int]]:
    """One property of Analytics whose last days were read: itself, its pulls, and how many batches that made."""
    first, _ = properties()
    with serving(ga4=ga4.Ga4Fake(first)) as url:
        pulls = analytics(tmp_path, url, properties=["1"], tables={"sessions": {"lookback": "2d"}})
        pulls.pull("sessions")
        yield first, pulls, len(pulls.manifests("sessions"))


def test_a_day_of_analytics_that_is_told_again_has_its_new_rows_alone(tmp_path: Path) -> None:
    with read_once(tmp_path) as (first, pulls, before):
        first.put(YESTERDAY, [{"sessionSource": "s000001", "sessions": 7, "purchaseRevenue": "0.07"}])
        pulls.pull("sessions")
    again = pulls.manifests("sessions")[before:]
    told = [row for manifest in again for row in pulls.rows(manifest) if row["date"] == YESTERDAY]
    assert [(row["account_id"], row["sessions"], row["purchase_revenue"]) for row in told] == [("1", 7, "0.07")]


def test_a_day_of_analytics_that_lost_its_rows_is_empty_where_other_days_still_have_some(tmp_path: Path) -> None:
    with read_once(tmp_path) as (first, pulls, before):
        first.put(YESTERDAY, [])
        pulls.pull("sessions")
        first.rows.clear()
        with pytest.raises(AccountsFailed, match="none is there now"):
            pulls.pull("sessions")
    (again,) = pulls.manifests("sessions")[before:]
    assert {row["date"] for row in pulls.rows(again)} == {TODAY}
    days = [(part.from_, part.to) for part in again.scope.parts]  # type: ignore[union-attr]
    assert (YESTERDAY.isoformat(), YESTERDAY.isoformat()) in days


def test_a_day_beyond_the_rows_of_one_page_is_read_whole(tmp_path: Path) -> None:
    count, day = 100_500, TODAY - timedelta(days=1)
    one = ga4.Property("1")
    one.put(day, visits(day, count))
    fake = ga4.Ga4Fake(one)
    fake.reorders = True
    with serving(ga4=fake) as url:
        report = {"dimensions": ["sessionSource"], "metrics": ["sessions"]}
        pulls = analytics(tmp_path, url, properties=["1"], tables={"sessions": report})
        pulls.pull("sessions", (day, day))
    (manifest,) = pulls.manifests("sessions")
    landed = pl.concat([pulls.landing.read(manifest, part) for part in manifest.of_kind("rows")])
    assert (landed.height, landed["session_source|string"].n_unique(), landed["sessions|int"].sum()) == (count,) * 3
    assert [asked.json["offset"] for asked in fake.log[-2:]] == ["0", "100000"]


def test_a_count_that_does_not_reconcile_fails(tmp_path: Path) -> None:
    said = "25 rows came where the report counts 26"
    with serving(ga4=ga4.Ga4Fake(*properties(), count_off=1)) as url, pytest.raises(AccountsFailed, match=said):
        analytics(tmp_path, url).pull("sessions")


@pytest.mark.parametrize(("left", "told"), [(20_005, None), (20_004, "19,999"), (5, "0")])
def test_few_tokens_that_are_left_are_told(left: int, told: str | None, tmp_path: Path) -> None:
    fake = ga4.Ga4Fake(*properties())
    fake.tokens_left = left
    with serving(ga4=fake) as url:
        # One request for the zone, and one for each of four days.
        warnings = analytics(tmp_path, url, properties=["1"], tables={"sessions": {}}).pull("sessions").warnings
    said = f"property 1 has {told} tokens of its quota left until midnight Pacific time"
    assert warnings == ((said,) if told else ())


def test_used_up_tokens_end_the_run(tmp_path: Path) -> None:
    fake = ga4.Ga4Fake(*properties())
    said = ga4.refused(429, "Exhausted property tokens for a project per hour.", "RESOURCE_EXHAUSTED")
    fake.fail(said, where=lambda asked: asked.path != "token" and len(fake.log) > 4)
    with serving(ga4=fake) as url, pytest.raises(QuotaExhausted, match="after 2026-11-24 13:00 UTC"):
        analytics(tmp_path, url).pull("sessions")


def test_a_key_that_is_none_is_not_shown(tmp_path: Path) -> None:
    with pytest.raises(SourceError.__mro__[1], match="the service account key cannot be used") as raised:
        Pulls(
            tmp_path,
            {
                "kind": "ga4",
                "credentials": {"key": '{"private_key": "secret-part"}'},
                "properties": ["1"],
                "tables": {"sessions": {}},
            },
        ).pull("sessions")
    assert "secret-part" not in str(raised.value)


# -- linkedin -------------------------------------------------------------------------------------------------


def test_more_than_18_fields_take_two_requests(tmp_path: Path) -> None:
    fake = linkedin_ads.LinkedinAdsFake(facts())
    names = {"impressions": "int", **{f"field{number}": "int" for number in range(18)}, "clicks": "int"}
    with serving(linkedin_ads=fake) as url:
        pulls = Pulls(tmp_path, source("linkedin_ads", url, "campaign_groups", options={"metrics": names}))
        pulls.pull("campaign_groups")
    assert {(row["impressions"], row["clicks"]) for row in pulls.last("campaign_groups")} == {(100, 10)}
    asked = [one for one in fake.log if one.path == "rest/adAnalytics"]
    assert max(len(one.query["fields"].split(",")) for one in asked) == 20
    assert "accounts=List(urn%3Ali%3AsponsoredAccount%3A" in asked[0].raw_query


# -- the vendors' own clients ---------------------------------------------------------------------------------


def test_googles_client_reads_the_same_analytics() -> None:
    from google.analytics.data_v1beta import BetaAnalyticsDataClient
    from google.analytics.data_v1beta.services.beta_analytics_data.transports import BetaAnalyticsDataRestTransport
    from google.analytics.data_v1beta.types import DateRange, Dimension, Metric, RunReportRequest
    from google.auth.credentials import AnonymousCredentials

    fake = ga4.Ga4Fake(*properties())
    fake.anonymous = True
    # The client knows no path before the version's, so the fake's prefix is the version.
    with serving(v1beta=_AtRoot(fake)) as url:
        transport = BetaAnalyticsDataRestTransport(
            host=url.removeprefix("http://"), url_scheme="http", credentials=AnonymousCredentials()
        )
        request = RunReportRequest(
            property="properties/1",
            dimensions=[Dimension(name="date"), Dimension(name="sessionSource")],
            metrics=[Metric(name="sessions")],
            date_ranges=[DateRange(start_date=TODAY.isoformat(), end_date=TODAY.isoformat())],
            limit=10,
        )
        report = BetaAnalyticsDataClient(transport=transport).run_report(request)
    assert report.row_count == 25 and len(report.rows) == 10 and report.metadata.time_zone == "Europe/Berlin"
    assert [cell.value for cell in report.rows[0].dimension_values] == [f"{TODAY:%Y%m%d}", "s000000"]


class _AtRoot(Fake):
    """A fake whose prefix is a part of its paths."""

    def __init__(self, inner: ga4.Ga4Fake) -> None:
        super().__init__()
        self._inner = inner

    def answer(self, asked: Any) -> Answer:
        from dataclasses import replace

        return self._inner.handle(replace(asked, path=f"v1beta/{asked.path}"))


def test_googles_messages_take_each_batch_of_the_ads_fake() -> None:
    import httpx
    from google.ads.googleads.v26.services.types.google_ads_service import SearchGoogleAdsStreamResponse

    with serving(google_ads=google_ads.GoogleAdsFake(facts())) as url:
        fields = "segments.date, customer.id, campaign.id, campaign.name, metrics.cost_micros, metrics.conversions"
        query = f"SELECT {fields} FROM campaign"
        answer = httpx.post(
            f"{url}/google_ads/v26/customers/{FIRST}/googleAds:searchStream",
            json={"query": f"{query} WHERE segments.date BETWEEN '{TODAY}' AND '{TODAY}'"},
            headers={
                "authorization": "Bearer google-access",
                "developer-token": "developer-token",
                "login-customer-id": "1000000001",
            },
        )
    # Strict: an unknown field, or a value of another type, is refused.
    (batch,) = [SearchGoogleAdsStreamResponse.from_json(json.dumps(one)) for one in answer.json()]
    assert [(row.campaign.id, row.metrics.cost_micros) for row in batch.results] == [
        (1, 10_100_000),
        (2, 11_100_000),
        (3, 12_100_000),
    ]
    assert batch.results[0].customer.id == int(FIRST)


def test_googles_messages_take_every_level_of_the_ads_fake() -> None:
    import httpx
    from google.ads.googleads.v26.services.types.google_ads_service import SearchGoogleAdsStreamResponse

    from tasks.marketing.google_ads.config import ENTITIES, REPORTS

    account = AdAccount(FIRST, "First")
    for ad in ("31", "32"):
        names = {"ad_group_id": "21", "ad_group_name": "g", "ad_id": ad, "ad_name": "a"}
        account.put(AdDay(TODAY, "11", "c", 100, 10, Decimal("1.10"), Decimal(2), Decimal("9.99"), **names))
    reports = {name: REPORTS[name] for name in ("accounts", "campaigns", "ad_groups", "ads", "conversions")}
    spent, listed = {}, {}
    with serving(google_ads=google_ads.GoogleAdsFake(Facts(account))) as url:
        for name, (resource, fields, _) in (reports | ENTITIES).items():
            days = f" WHERE segments.date BETWEEN '{TODAY}' AND '{TODAY}'" if name in reports else ""
            answer = httpx.post(
                f"{url}/google_ads/v26/customers/{FIRST}/googleAds:searchStream",
                json={"query": f"SELECT {', '.join(fields)} FROM {resource}{days}"},
                headers={"authorization": "Bearer google-access", "developer-token": "developer-token"},
            )
            rows = SearchGoogleAdsStreamResponse.from_json(json.dumps(answer.json()[0])).results
            if name in reports:
                spent[name] = [row.metrics.cost_micros for row in rows]
            else:
                listed[name] = [str(row.ad_group_ad.ad.id or row.campaign.id or row.customer.id) for row in rows]
    assert spent == {
        **{"accounts": [2_200_000], "campaigns": [2_200_000], "ad_groups": [2_200_000]},
        **{"ads": [1_100_000, 1_100_000], "conversions": [0, 0]},
    }
    assert listed == {"account_list": [FIRST], "campaign_list": ["11"], "ad_list": ["31", "32"]}


def test_metas_client_reads_the_same_insights(monkeypatch: pytest.MonkeyPatch) -> None:
    from facebook_business.adobjects.adaccount import AdAccount as MetaAccount
    from facebook_business.adobjects.adreportrun import AdReportRun
    from facebook_business.api import FacebookAdsApi
    from facebook_business.session import FacebookSession

    with serving(meta_ads=meta_ads.MetaAdsFake(facts())) as url:
        monkeypatch.setattr(FacebookSession, "GRAPH", f"{url}/meta_ads")
        api = FacebookAdsApi.init(access_token="meta-token", api_version="v26.0", crash_log=False)
        params = {
            "level": "campaign",
            "time_increment": 1,
            "time_range": {"since": TODAY.isoformat(), "until": TODAY.isoformat()},
        }
        job = MetaAccount(f"act_{FIRST}", api=api).get_insights(
            fields=["campaign_id", "spend", "actions"], params=params, is_async=True
        )
        for _ in range(3):
            job = job.api_get()
        assert job[AdReportRun.Field.async_status] == "Job Completed"
        rows = [dict(row) for row in job.get_insights(params={"limit": 2})]
    assert [(row["campaign_id"], row["spend"]) for row in rows] == [("1", "10.10"), ("2", "11.10"), ("3", "12.10")]
