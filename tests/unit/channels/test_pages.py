"""The page of each channel: its example is checked and run at the service's own addresses, its versions are known."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from infra.sample.channels import ga4, klaviyo
from infra.sample.channels.facts import AdDay
from infra.sample.channels.microsoft_ads import MicrosoftAdsFake
from infra.sample.channels.server import Answer, Asked, Fake
from infra.sample.connectors.proxy import Internet
from tasks.marketing import versions
from tasks.marketing.rest.check import check
from tests.channels import NOW, Pulls, Script, serving
from tests.unit.channels.test_channels import FAKES, facts, key_of_service_account, visits

PAGES = Path(__file__).parents[3] / "docs/sources"
SECRETS = {
    "GOOGLE_ADS_DEVELOPER_TOKEN": "developer-token",
    "GOOGLE_CLIENT_SECRET": "google-secret",
    "GOOGLE_REFRESH_TOKEN": "google-refresh",
    "META_TOKEN": "meta-token",
    "TIKTOK_TOKEN": "tiktok-token",
    "LINKEDIN_REFRESH_TOKEN": "linkedin-refresh",
    "MICROSOFT_DEVELOPER_TOKEN": "developer-token",
    "MICROSOFT_REFRESH_TOKEN": "microsoft-refresh-0",
    "KLAVIYO_KEY": "pk_secret",
}
STORAGE = "storage.example"
HOSTS = {
    "ga4": ("analyticsdata.googleapis.com",),
    "google_ads": ("googleads.googleapis.com",),
    "klaviyo": ("a.klaviyo.com",),
    "linkedin_ads": ("api.linkedin.com",),
    "meta_ads": ("graph.facebook.com",),
    "microsoft_ads": (
        "reporting.api.bingads.microsoft.com",
        "bulk.api.bingads.microsoft.com",
        "clientcenter.api.bingads.microsoft.com",
        STORAGE,
    ),
    "tiktok_ads": ("business-api.tiktok.com",),
}
GOOGLE = ("oauth2.googleapis.com", "token")
TOKENS = {
    "ga4": GOOGLE,
    "google_ads": GOOGLE,
    "linkedin_ads": ("www.linkedin.com", "oauth/v2/accessToken"),
    "microsoft_ads": ("login.microsoftonline.com", "common/oauth2/v2.0/token"),
}
# What the fakes' managers are called.
MANAGER = {"123-456-7890": "100-000-0001"}
YESTERDAY = NOW.date() - timedelta(days=1)


def fake_of(kind: str) -> Fake:
    if kind == "ga4":
        found = ga4.Property("123456789")
        found.put(YESTERDAY, visits(YESTERDAY, 3))
        return ga4.Ga4Fake(found)
    if kind == "klaviyo":
        made = klaviyo.KlaviyoFake()
        for name in ("profiles", "events", "campaigns"):
            made.records[name]["1"] = {
                "updated": f"{YESTERDAY}T00:00:00+00:00",
                "datetime": f"{YESTERDAY}T00:00:00+00:00",
            }
        return made
    known = facts()
    for account in known.accounts.values():
        # The pages read keywords, too.
        below = {"ad_group_id": "21", "ad_id": "31", "keyword_id": "41", "keyword": "shoes"}
        account.put(AdDay(YESTERDAY, "1", "c1", 100, 10, **below))
    fake: Fake = FAKES[kind](known)
    return fake


def example(kind: str) -> dict[str, Any]:
    """Return the page's example with the fake's secrets in place of the service's own."""
    (text,) = re.findall(r"```yaml\n(.*?)```", (PAGES / f"{kind}.md").read_text(), re.DOTALL)
    known = {**SECRETS, "GA4_SERVICE_ACCOUNT": ""}
    (source,) = (
        YAML(typ="safe")
        .load(re.sub(r"\$\{(\w+)\}", lambda found: known.get(found[1], "given"), text))["sources"]
        .values()
    )
    assert source["kind"] == kind
    if kind == "ga4":
        source["credentials"]["key"] = key_of_service_account(f"https://{'/'.join(GOOGLE)}")
    if "manager" in source:
        source["manager"] = MANAGER[source["manager"]]
    for table in source["tables"].values():
        if "start" in table:
            # Not eleven months of days: the way there is the same.
            table["start"] = NOW.date() - timedelta(days=40)
    found: dict[str, Any] = json.loads(json.dumps(source, default=str))
    return found


@contextmanager
def internet(kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Serve a fake at the addresses of its service; fail unless all of them were asked, and no other."""
    fake = fake_of(kind)
    hosts: dict[str, Fake] = dict.fromkeys(HOSTS[kind], fake)
    if isinstance(fake, MicrosoftAdsFake):
        fake.storage = f"https://{STORAGE}"

    def token(asked: Asked) -> Answer:
        return fake.handle(replace(asked, path="token" if asked.path == TOKENS[kind][1] else "none"))

    if kind in TOKENS:
        hosts[TOKENS[kind][0]] = Script(token)
    with Internet(hosts, folder) as served:
        for name, value in served.environment.items():
            monkeypatch.setenv(name, value)
        yield
    assert {asked.headers["host"] for asked in fake.log} == hosts.keys()
    assert served.refused == set()


@pytest.mark.parametrize("kind", sorted(versions.CURRENT))
def test_the_example_of_a_page_passes_the_check_and_each_of_its_tables_is_read(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with internet(kind, tmp_path, monkeypatch):
        pulls = Pulls(tmp_path, example(kind))
        refs = pulls.sources.refs()
        found = list(check("shop", refs[0].source, pulls.open()))  # type: ignore[arg-type]
        rows = {ref.table_name: pulls.pull(ref.table_name).metrics.rows_landed for ref in refs}
    assert [one for one in found if one.level == "wrong"] == []
    assert any(one.level == "ok" and "the first rows" in one.message for one in found)
    assert [name for name, count in rows.items() if not count] == []


def test_the_example_of_any_other_api_reads_one(tmp_path: Path) -> None:
    programs = [{"id": "p1", "tz": "Europe/Berlin"}, {"id": "p2", "tz": "Pacific/Auckland"}]

    def answer(asked: Asked) -> Any:
        if asked.headers.get("authorization") != "Bearer given":
            return Answer({}, 401)
        if asked.path == "programs":
            # One on each page.
            start = int(asked.query.get("after", 0))
            return {"data": programs[start : start + 1], "meta": {"next": "1"} if not start else {}}
        if asked.path.endswith("members"):
            return {"data": [{"id": "m1", "name": "Ann"}]}
        return {"data": [{"day": f"{YESTERDAY}", "member_id": "m1", "amount": "0.10"}]}

    _, text = re.findall(r"```yaml\n(.*?)```", (PAGES / "channels.md").read_text(), re.DOTALL)
    source = YAML(typ="safe").load(text.replace("${LOYALTY_TOKEN}", "given"))["sources"]["loyalty"]
    fake = Script(answer)
    fake.fail(Answer({"code": 40100, "retry_after": 7}), where=lambda asked: asked.path.endswith("points"))
    with serving(api=fake) as url:
        pulls = Pulls(tmp_path, source | {"base_url": f"{url}/api"})
        pulls.pull("points")
        pulls.pull("members")
    points = [(row["account_id"], row["day"], row["amount"]) for row in pulls.last("points")]
    assert points == [(name, YESTERDAY, "0.10") for name in ("p1", "p2")]
    assert [row["name"] for row in pulls.last("members")] == ["Ann", "Ann"]
    assert 7 in pulls.clock.slept
    # The days are those of each program's own zone: it is the 25th in Auckland.
    asked = [one.query for one in fake.log if one.path.endswith("points")]
    assert {(one["from"], one["to"]) for one in asked} == {("2026-11-17", "2026-11-24"), ("2026-11-18", "2026-11-25")}


@pytest.mark.parametrize("kind", sorted(versions.CURRENT))
def test_a_page_tells_when_each_known_version_ends(kind: str) -> None:
    rows = re.findall(r"^\| `([^`]+)` \| ([^|,]+)", (PAGES / f"{kind}.md").read_text(), re.MULTILINE)
    told = {name: None if end.strip() == "nothing announced" else date.fromisoformat(end.strip()) for name, end in rows}
    assert told == versions.ENDS[kind] and versions.CURRENT[kind] in told
