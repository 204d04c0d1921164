"""Reading TikTok Ads: pages by number, and codes that say what HTTP does not."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from tasks.errors import SourceError
from tasks.marketing import versions
from tasks.marketing.rest.auth import HeaderAuth
from tasks.marketing.rest.channel import Account, ApiChannel, Ask, Ending, Layout
from tasks.marketing.rest.client import Client, Request
from tasks.marketing.rest.common import Common
from tasks.marketing.rest.errors import Rule, Wait
from tasks.marketing.rest.paging import Numbered, Parameter, listed, read_pages
from tasks.marketing.tiktok_ads.config import ADVERTISER, ENTITIES, REPORTS, TiktokAdsSource

_URL = "https://business-api.tiktok.com"
_RULES = (
    Rule("wait", body={"code": (40100, 40132, 40133)}, wait=Wait(seconds=5), say="asked too often"),
    Rule(
        "refresh",
        body={"code": (40102, 40104, 40105)},
        say="the access token is not valid",
        advice="authorize the app again",
    ),
    Rule(
        "skip_account",
        body={"code": (40001, 40003)},
        say="the advertiser may not be read",
        advice="let the advertiser authorize the app with the scopes Reporting and Ads Management",
    ),
    Rule("retry", body={"code": (50000, 50002, 51010, 51305)}),
    Rule("fail", status=(200,), unless={"code": (0,)}),
)
# Conversions are counted on the day of the click, up to 28 days later.
_LOOKBACK = 28
# The service gives at most 30 days of daily rows at once.
_STEP = 30
_PAGING = Numbered(Parameter("page"), Parameter("page_size"), pages="data.page_info.total_page")


class TiktokAdsChannel(ApiChannel):
    """Advertisers of TikTok.

    Args:
        name: The source's name.
        source: Its configuration.
        common: What it shares with other processes, and the time it goes by.
    """

    def __init__(self, name: str, source: TiktokAdsSource, common: Common) -> None:
        self._name, self._source = name, source
        self.client = Client(
            source.base_url or _URL,
            name,
            auth=HeaderAuth("Access-Token", source.access_token.get_secret_value()),
            rules=_RULES,
            # Ten a second for an app.
            budget=common.budget(name, 10, 1, concurrent=4),
            clock=common.clock,
        )

    def accounts(self) -> list[Account]:
        """See `Channel`."""
        return [self._account(name) for name in self._source.advertisers]

    def _account(self, name: str) -> Account:
        try:
            found = next(iter(self._advertiser(name)), None)
        except SourceError:
            # Read as any other account it will fail by its name, and stop no other.
            return Account(name)
        if found is None:
            return Account(name)
        zone = found.get("display_timezone") or found.get("timezone") or "UTC"
        return Account(name, str(zone), str(found.get("name") or ""), str(found.get("currency") or ""))

    def _advertiser(self, name: str) -> list[dict[str, Any]]:
        params = {"advertiser_ids": json.dumps([name]), "fields": json.dumps(ADVERTISER)}
        return listed(self.client.send(self._get("advertiser/info/", params)), "data.list")

    def layout(self, table: str) -> Layout:
        """See `Channel`."""
        found = self._source.tables[table]
        report = found.report or table
        if report in ENTITIES:
            key = ENTITIES[report][1]
            return Layout(key=(key,) if key else (), empty=found.empty)
        _, dimension, _ = REPORTS[report]
        return Layout.of(
            found,
            key=("stat_time_day", *((dimension,) if dimension else ())),
            day="stat_time_day",
            types=found.metrics,
            nulls=frozenset({"-"}),
            lookback=_LOOKBACK,
            step=_STEP,
            most_step=_STEP,
        )

    def endings(self) -> Sequence[Ending]:
        """See `Channel`."""
        return [versions.ending("tiktok_ads", self._source.version)]

    def read(self, ask: Ask) -> Iterator[dict[str, Any]]:
        """See `Channel`."""
        table = self._source.tables[ask.table]
        report = table.report or ask.table
        if report in ENTITIES:
            for record in self._entities(report, ask.account.id):
                # The advertiser stands in the column of every account.
                yield {name: value for name, value in record.items() if name != "advertiser_id"}
            return
        assert ask.window is not None  # noqa: S101  every report has a day
        level, dimension, attributes = REPORTS[report]
        params = {
            "advertiser_id": ask.account.id,
            "service_type": "AUCTION",
            "report_type": "BASIC",
            "data_level": level,
            "dimensions": json.dumps([dimension or "advertiser_id", "stat_time_day"]),
            "metrics": json.dumps([*attributes, "currency", *table.metrics]),
            "start_date": ask.window.first.isoformat(),
            "end_date": ask.window.last.isoformat(),
        }
        for _, records in self._pages("report/integrated/get/", params):
            for record in records:
                row = {**record["dimensions"], **record["metrics"]}
                row.pop("advertiser_id", None)
                yield row

    def _entities(self, report: str, advertiser: str) -> Iterator[dict[str, Any]]:
        path, key = ENTITIES[report]
        if key is None:
            yield from self._advertiser(advertiser)
            return
        for _, records in self._pages(f"{path}/get/", {"advertiser_id": advertiser}):
            yield from records

    def _get(self, path: str, params: dict[str, Any]) -> Request:
        return Request(f"open_api/{self._source.version}/{path}", params=params)

    def _pages(self, path: str, params: dict[str, Any]) -> Iterator[tuple[Any, list[Any]]]:
        return read_pages(self.client, self._get(path, params), _PAGING, "data.list", self._source.rows)
