"""Reading Meta Ads: reports are ordered, waited for, split when they fail, and read page by page."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import chain
from typing import Any

from tasks.errors import SourceError
from tasks.marketing import versions
from tasks.marketing.meta_ads.actions import action_rows, counted
from tasks.marketing.meta_ads.config import ENTITIES, LEVELS, METRICS, MetaAdsSource
from tasks.marketing.rest.auth import HeaderAuth
from tasks.marketing.rest.channel import ACCOUNT, Account, ApiChannel, Ask, Ending, Layout
from tasks.marketing.rest.client import Client, Request
from tasks.marketing.rest.common import Common
from tasks.marketing.rest.errors import Rule, Wait, at
from tasks.marketing.rest.jobs import Look, Orders, Patience, run_job
from tasks.marketing.rest.paging import Parameter, Token, read_pages
from tasks.sources.connector import Finding

_URL = "https://graph.facebook.com"
_USAGE = ("x-business-use-case-usage", "x-ad-account-usage", "x-app-usage", "x-fb-ads-insights-throttle")
_SHARES = ("call_count", "total_cputime", "total_time", "acc_id_util_pct", "app_id_util_pct")
# Below this nobody is refused; above it reports are slowed down first.
_BUSY, _VERY_BUSY = 85.0, 95.0
_BUSY_PAUSE, _VERY_BUSY_PAUSE = 60.0, 240.0


def _found(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield name, inner
            yield from _found(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _found(inner)


def _usage(headers: Mapping[str, str]) -> list[tuple[str, Any]]:
    told: list[tuple[str, Any]] = []
    for name in _USAGE:
        try:
            told += _found(json.loads(headers.get(name) or "{}"))
        except ValueError:
            continue
    return told


def pace(headers: Mapping[str, str]) -> float:
    """Return the seconds to wait, from what an answer says of the account's usage in percent."""
    shares = [float(value) for name, value in _usage(headers) if name in _SHARES and isinstance(value, int | float)]
    most = max(shares, default=0.0)
    return _VERY_BUSY_PAUSE if most >= _VERY_BUSY else _BUSY_PAUSE if most >= _BUSY else 0.0


@dataclass(frozen=True)
class _Regain(Wait):
    """What a refusal says in its headers: minutes until the account may ask again."""

    def told(self, headers: Mapping[str, str], body: Any, now: datetime) -> float | None:
        minutes = [
            float(value) for name, value in _usage(headers) if name == "estimated_time_to_regain_access" and value
        ]
        return max(minutes) * 60 if minutes else self.seconds


_CODE, _SUBCODE = "error.code", "error.error_subcode"
_RULES = (
    Rule("reduce_page", status=(500, 400), contains="reduce the amount of data"),
    Rule(
        "wait",
        status=(400, 403, 429),
        body={_CODE: (4, 17, 32, 613, *range(80000, 80007), 80008, 80014)},
        wait=_Regain(seconds=60),
    ),
    Rule("version", body={_CODE: (2635,)}, say="this version of the Marketing API has ended"),
    Rule(
        "refresh",
        body={_CODE: (190, 102)},
        say="the access token has ended",
        advice="make a new token of the system user",
    ),
    Rule(
        "skip_account",
        status=(400, 403),
        body={_CODE: (10, *range(200, 300))},
        say="the ad account may not be read",
        advice="assign the ad account to the system user, with ads_read",
    ),
    Rule("retry", status=(400, 500, 503), body={_CODE: (1, 2, 104, 341, 960)}),
    Rule("retry", status=(400, 500, 503), body={"error.is_transient": (True,)}),
)
# Conversions are counted on the day of the impression, up to 28 days later.
_LOOKBACK = 28
_STEP = 7
# 37 months.
_OLDEST = 1_126
_PATIENCE = Patience(first=0.25, most=60.0, limit=1_800.0, stuck=300.0, orders=2)
_STATES: dict[str, Any] = {"Job Completed": "done", "Job Failed": "failed", "Job Skipped": "failed"}


class MetaAdsChannel(ApiChannel):
    """Ad accounts of Meta.

    Attributes:
        ahead: Reports that are made at once; the service allows far more, and each counts against the account's usage.

    Args:
        name: The source's name.
        source: Its configuration.
        common: What it shares with other processes, and the time it goes by.
    """

    ahead = 8

    def __init__(self, name: str, source: MetaAdsSource, common: Common) -> None:
        self._name, self._source = name, source
        token = source.access_token.get_secret_value()
        # In a header, though the documentation has it in the address: addresses are logged on the way.
        auth = HeaderAuth("Authorization", f"Bearer {token}", token)
        self._proof: dict[str, str] = {}
        self._orders = Orders()
        if source.app_secret is not None:
            secret = auth.secrets.add(source.app_secret.get_secret_value())
            proof = hmac.new(secret.encode(), token.encode(), hashlib.sha256).hexdigest()
            self._proof = {"appsecret_proof": auth.secrets.add(proof)}
        self.client = Client(
            source.base_url or _URL,
            name,
            auth=auth,
            rules=_RULES,
            budget=common.budget(name, 10, 1, concurrent=4),
            clock=common.clock,
            pace=pace,
            upgrade=versions.ending("meta_ads", source.version).upgrade,
        )

    def accounts(self) -> list[Account]:
        """See `Channel`."""
        fields = "account_id,name,timezone_name,currency"
        if self._source.accounts:
            return [self._account(name, fields) for name in self._source.accounts]
        request = self._get("me/adaccounts", {"fields": fields})
        return [_account(record) for _, page in self._pages(request) for record in page]

    def lacking(self) -> Iterator[Finding]:
        """See `Channel`; the service lists what was granted."""
        granted = {
            record["permission"]
            for _, page in self._pages(self._get("me/permissions", {}))
            for record in page
            if record.get("status") == "granted"
        }
        if not granted & {"ads_read", "ads_management"}:
            yield Finding(
                "wrong",
                f"source {self._name}",
                f"the token has not the permission ads_read (it has: {', '.join(sorted(granted)) or 'none'})",
                "make a new token of the system user, with ads_read",
            )

    def _account(self, name: str, fields: str) -> Account:
        try:
            return _account(self.client.send(self._get(f"act_{name}", {"fields": fields})).body)
        except SourceError:
            # Read as any other account it will fail by its name, and stop no other.
            return Account(name)

    def layout(self, table: str) -> Layout:
        """See `Channel`."""
        found = self._source.tables[table]
        report = found.report or table
        if report in ENTITIES:
            key = ("id",) if ENTITIES[report][0] else ()
            return Layout(key=key, types={"daily_budget": "int"}, empty=found.empty)
        types = {"impressions": "int", "reach": "int", "clicks": "int", "inline_link_clicks": "int", "spend": "decimal"}
        types |= {"purchases": "decimal", "purchase_value": "decimal", "actions": "decimal", "action_value": "decimal"}
        return Layout.of(
            found,
            key=("date_start", *LEVELS[report][2], *found.breakdowns),
            day="date_start",
            types=types
            | {f"{kind}_{window}": "decimal" for kind in ("actions", "value") for window in found.attribution},
            lookback=_LOOKBACK,
            step=_STEP,
            oldest=_OLDEST,
        )

    def endings(self) -> Sequence[Ending]:
        """See `Channel`."""
        return [versions.ending("meta_ads", self._source.version)]

    def read(self, ask: Ask) -> Iterator[dict[str, Any]]:
        """See `Channel`."""
        table = self._source.tables[ask.table]
        report = table.report or ask.table
        if report in ENTITIES:
            yield from self._entities(f"act_{ask.account.id}", *ENTITIES[report])
            return
        of_actions = report.endswith("_actions")
        attribution = ",".join(table.attribution)
        names = (*LEVELS[report][1], *table.breakdowns)
        for _, page in self._pages(self._ordered(ask)):
            for record in page:
                row = {name: record.get(name) for name in ("date_start", "account_currency", *names)}
                # The service leaves out what did not happen; the choice of windows changes what it counts.
                row |= {ACCOUNT: record.get("account_id") or ask.account.id, "attribution": attribution}
                if of_actions:
                    for action in action_rows(record, table.attribution):
                        yield row | action
                else:
                    purchases = counted(record, "purchase")
                    yield row | {name: record.get(name) for name in METRICS} | purchases

    def _entities(self, account: str, edge: str, fields: Sequence[str]) -> Iterator[dict[str, Any]]:
        asked = {"fields": ",".join(fields)}
        if edge:
            # Archived ones are left out unless they are asked for.
            states = json.dumps([{"field": "effective_status", "operator": "IN", "value": _ALL_STATES}])
            request = self._get(f"{account}/{edge}", {**asked, "filtering": states})
            pages: Iterator[list[Any]] = (page for _, page in self._pages(request))
        else:
            pages = iter([[self.client.send(self._get(account, asked)).body]])
        for record in chain.from_iterable(pages):
            yield {name: record.get(name) for name in fields}

    def prepare(self, asks: Sequence[Ask]) -> None:
        """See `Channel`: the service makes several reports at once."""
        self._orders.ahead({_name(ask): partial(self._order, ask) for ask in asks if ask.window is not None})

    # -- requests ---------------------------------------------------------------------------------------------

    def _ordered(self, ask: Ask) -> Request:
        """Wait for a report, which is ordered unless it was before, and return the request for its first page."""

        def look(job: str) -> Look:
            body = self.client.send(self._get(job, {})).body
            said = str(body.get("async_status"))
            return Look(_STATES.get(said, "running"), body.get("async_percent_completion"), job, said)

        where = f"{self._name}.{ask.table} account {ask.account}"
        ordered = self._orders.take(_name(ask))
        job = run_job(self.client, partial(self._order, ask), look, _PATIENCE, where, ordered)
        return self._get(f"{job}/insights", {})

    def _order(self, ask: Ask) -> str:
        assert ask.window is not None  # noqa: S101  every report has a day
        table = self._source.tables[ask.table]
        report = table.report or ask.table
        level, names, _ = LEVELS[report]
        metrics = (
            ("actions", "action_values") if report.endswith("_actions") else (*METRICS, "actions", "action_values")
        )
        form = {
            "level": level,
            "fields": json.dumps(["account_id", "account_currency", *names, *metrics]),
            "time_range": json.dumps({"since": ask.window.first.isoformat(), "until": ask.window.last.isoformat()}),
            "time_increment": "1",
            "action_attribution_windows": json.dumps(list(table.attribution)),
            **({"breakdowns": json.dumps(list(table.breakdowns))} if table.breakdowns else {}),
            **self._proof,
        }
        order = Request(f"{self._source.version}/act_{ask.account.id}/insights", "POST", form=form)
        return str(self.client.send(order).body["report_run_id"])

    def _get(self, path: str, params: Mapping[str, Any]) -> Request:
        return Request(f"{self._source.version}/{path}", params={**params, **self._proof})

    def _pages(self, request: Request) -> Iterator[tuple[Any, list[Any]]]:
        paging = _Cursor(Parameter("after"), "paging.cursors.after", size=Parameter("limit"))
        return read_pages(self.client, request, paging, "data", self._source.rows)


def _name(ask: Ask) -> Hashable:
    return ask.table, ask.account.id, ask.window


class _Cursor(Token):
    """A cursor is given with the last page too; only `paging.next` tells that there is another."""

    def following(self, request: Request, reply: Any, before: int, count: int, size: int) -> Request | None:
        if not at(reply.body, "paging.next"):
            return None
        return super().following(request, reply, before, count, size)


_ALL_STATES = (
    "ACTIVE",
    "PAUSED",
    "ARCHIVED",
    "DELETED",
    "CAMPAIGN_PAUSED",
    "ADSET_PAUSED",
    "PENDING_REVIEW",
    "DISAPPROVED",
    "IN_PROCESS",
    "WITH_ISSUES",
)


def _account(record: Mapping[str, Any]) -> Account:
    return Account(
        str(record["account_id"]),
        str(record.get("timezone_name") or "UTC"),
        str(record.get("name") or ""),
        str(record.get("currency") or ""),
    )
