"""Reading LinkedIn Ads: analytics of an account by pivot, their fields in as many requests as it takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any
from urllib.parse import quote

from tasks.errors import SourceError
from tasks.marketing import versions
from tasks.marketing.linkedin_ads.config import ENTITIES, PIVOTS, LinkedinAdsSource
from tasks.marketing.rest.auth import Auth, HeaderAuth, OAuthRefresh
from tasks.marketing.rest.channel import Account, ApiChannel, Ask, Ending, Layout
from tasks.marketing.rest.client import Client, Request
from tasks.marketing.rest.common import Common
from tasks.marketing.rest.decode import merge
from tasks.marketing.rest.errors import Rule, SplitWindow, Wait
from tasks.marketing.rest.paging import Parameter, Token, listed, read_pages

_URL = "https://api.linkedin.com"
_RULES = (
    Rule("version", status=(426,), say="this version of the Marketing API has ended"),
    # Daily limits, which begin anew at midnight UTC.
    Rule("quota", status=(429,), contains="daily", wait=Wait(seconds=3_600), say="the day's requests are used up"),
    Rule(
        "refresh",
        status=(401,),
        say="the access token is not valid, or has ended",
        advice="let a member with a role in the ad accounts authorize the app again",
    ),
    Rule(
        "skip_account",
        status=(403,),
        say="the ad account may not be read",
        advice="give the member a role in the ad account, and the app the scopes r_ads and r_ads_reporting",
    ),
)
# Conversions are counted on the day of the click, up to 30 days later by default.
_LOOKBACK = 30
_STEP = 30
# 20 at most, of which two name the row.
_FIELDS = 18
# An answer of analytics has no pages; it is cut off here.
_MOST_ROWS = 15_000
_PAGE = 100


class LinkedinAdsChannel(ApiChannel):
    """Ad accounts of LinkedIn.

    Args:
        name: The source's name.
        source: Its configuration.
        common: What it shares with other processes, and the time it goes by.
    """

    def __init__(self, name: str, source: LinkedinAdsSource, common: Common) -> None:
        self._name, self._source = name, source
        self.client = Client(
            source.base_url or _URL,
            name,
            auth=_auth(name, source, common),
            rules=_RULES,
            headers={"LinkedIn-Version": source.version, "X-Restli-Protocol-Version": "2.0.0"},
            budget=common.budget(name, 6, 10, concurrent=2),
            clock=common.clock,
            upgrade=versions.ending("linkedin_ads", source.version).upgrade,
        )

    def accounts(self) -> list[Account]:
        """Return the accounts; the days of LinkedIn's reports are those of UTC, whatever the account's place."""
        wanted = self._source.accounts
        if wanted:
            return [self._account(name) for name in wanted]
        request = Request("rest/adAccounts?q=search", params={})
        return [_account(record) for record in self._entities(request)]

    def _account(self, name: str) -> Account:
        try:
            return _account(self.client.send(Request(f"rest/adAccounts/{name}")).body)
        except SourceError:
            # Read as any other account it will fail by its name, and stop no other.
            return Account(name)

    def layout(self, table: str) -> Layout:
        """See `Channel`."""
        found = self._source.tables[table]
        report = found.report or table
        if report in ENTITIES:
            return Layout(key=("id",), empty=found.empty)
        column = PIVOTS[report][1]
        return Layout.of(
            found,
            key=("date", *((column,) if column else ())),
            day="date",
            types=found.metrics,
            lookback=_LOOKBACK,
            step=_STEP,
        )

    def endings(self) -> Sequence[Ending]:
        """See `Channel`."""
        return [versions.ending("linkedin_ads", self._source.version)]

    def read(self, ask: Ask) -> Iterator[dict[str, Any]]:
        """See `Channel`."""
        table = self._source.tables[ask.table]
        report = table.report or ask.table
        if report in ENTITIES:
            path, below = f"rest/adAccounts/{ask.account.id}", ENTITIES[report]
            if below:
                yield from self._entities(Request(f"{path}/{below}?q=search"))
            else:
                yield _named(self.client.send(Request(path)).body)
            return
        assert ask.window is not None  # noqa: S101  all analytics have a day
        pivot, column = PIVOTS[report]
        names = tuple(table.metrics)
        # Brackets and colons of Rest.li stand as they are; what is within them is encoded.
        urn = quote(f"urn:li:sponsoredAccount:{ask.account.id}", safe="")
        query = (
            f"q=analytics&pivot={pivot}&timeGranularity=DAILY&accounts=List({urn})"
            f"&dateRange=(start:{_day(ask.window.first)},end:{_day(ask.window.last)})"
        )
        chunks = [names[start : start + _FIELDS] for start in range(0, len(names), _FIELDS)]
        answers = [self._analytics(query, chunk, column) for chunk in chunks]
        key = ["date", *((column,) if column else ())]
        for row in merge(answers, key, f"{self._name}.{ask.table}"):
            # What did not happen is left out of an answer, and so is the account's currency, which costs are in.
            yield {name: row.get(name) for name in (*key, *names)} | {"currency": ask.account.currency or None}

    def _analytics(self, query: str, names: Sequence[str], column: str | None) -> Iterator[dict[str, Any]]:
        fields = ",".join(("dateRange", "pivotValues", *names))
        reply = self.client.send(Request(f"rest/adAnalytics?{query}&fields={fields}"))
        elements = listed(reply, "elements")
        if len(elements) >= _MOST_ROWS:
            raise SplitWindow(f"the answer was cut off at {_MOST_ROWS} rows")
        for element in elements:
            row = {name: value for name, value in element.items() if name not in ("dateRange", "pivotValues")}
            start = element["dateRange"]["start"]
            row["date"] = date(start["year"], start["month"], start["day"]).isoformat()
            if column is not None:
                row[column] = _of_urn(element)
            yield row

    def _entities(self, request: Request) -> Iterator[dict[str, Any]]:
        paging = Token(Parameter("pageToken"), "metadata.nextPageToken", size=Parameter("pageSize"))
        for _, records in read_pages(self.client, request, paging, "elements", _PAGE):
            yield from map(_named, records)


def _auth(name: str, source: LinkedinAdsSource, common: Common) -> Auth:
    if source.access_token is not None:
        token = source.access_token.get_secret_value()
        return HeaderAuth("Authorization", f"Bearer {token}", token)
    assert source.client_id and source.client_secret and source.refresh_token  # noqa: S101  the validator has seen to it
    return OAuthRefresh(
        source.token_url,
        source.client_id,
        source.client_secret.get_secret_value(),
        source.refresh_token.get_secret_value(),
        where=name,
        clock=common.clock,
        tokens=common.tokens,
    )


def _account(record: Mapping[str, Any]) -> Account:
    return Account(str(record["id"]), "UTC", str(record.get("name") or ""), str(record.get("currency") or ""))


def _named(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return an entity with its number for its URN."""
    return {**record, "id": str(record["id"]).rsplit(":", 1)[-1]}


def _day(day: date) -> str:
    return f"(year:{day.year},month:{day.month},day:{day.day})"


def _of_urn(element: Mapping[str, Any]) -> str:
    values = element.get("pivotValues") or []
    if len(values) != 1:
        raise SourceError(f"a row has {len(values)} pivot values where one was asked for", "adAnalytics")
    return str(values[0]).rsplit(":", 1)[-1]
