"""Reading Google Ads: GAQL by searchStream, whose batches are taken as they arrive."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tasks.errors import SourceError
from tasks.marketing import versions
from tasks.marketing.google import refusals
from tasks.marketing.google_ads.config import ENTITIES, REPORTS, GoogleAdsSource
from tasks.marketing.rest.channel import Account, ApiChannel, Ask, Ending, Layout
from tasks.marketing.rest.client import Client, Request
from tasks.marketing.rest.common import Common
from tasks.marketing.rest.decode import elements
from tasks.marketing.rest.errors import Rule, Wait, at

_URL = "https://googleads.googleapis.com"
_SCOPE = "https://www.googleapis.com/auth/adwords"
# The answer to a streamed request is a list, and so is its error.
_CODES = "*.error.details.*.errors.*.errorCode"
_RETRY_IN = "0.error.details.0.errors.0.details.quotaErrorDetails.retryDelay"
_RULES = (
    *refusals(_SCOPE, "Google Ads API"),
    Rule(
        "quota",
        body={f"{_CODES}.quotaError": ("RESOURCE_EXHAUSTED",)},
        wait=Wait(body=_RETRY_IN, seconds=3_600),
        say="the operations of the developer token are used up",
    ),
    Rule(
        "wait",
        body={f"{_CODES}.quotaError": ("RESOURCE_TEMPORARILY_EXHAUSTED",)},
        wait=Wait(body=_RETRY_IN, seconds=30),
    ),
    Rule(
        "version",
        body={f"{_CODES}.requestError": ("UNSUPPORTED_VERSION",)},
        say="this version of the Google Ads API has ended",
    ),
    Rule(
        "skip_account",
        body={f"{_CODES}.authorizationError": ("CUSTOMER_NOT_ENABLED", "USER_PERMISSION_DENIED")},
        say="the account may not be read",
        advice="enable the account, give the user access to it or to `manager`, or leave it out of `customers`",
    ),
    Rule(
        "fail",
        body={f"{_CODES}.authorizationError": ("DEVELOPER_TOKEN_NOT_APPROVED", "DEVELOPER_TOKEN_PROHIBITED")},
        say="the developer token may read test accounts only",
        advice="apply for Basic access in the API Center of the manager account",
    ),
    Rule("retry", body={f"{_CODES}.internalError": ("TRANSIENT_ERROR", "INTERNAL_ERROR")}),
)
# Conversions are counted on the day of the click, up to the conversion window (30 days by default) later.
_LOOKBACK = 30
_STEP = 14
# 37 months.
_OLDEST = 1_126
_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_DECIMALS = ("conversions", "conversions_value", "all_conversions", "all_conversions_value")
# They come for an account too, and are its own columns here.
_OF_ACCOUNT = {
    "customer_id": "account_id",
    "customer_descriptive_name": "account_name",
    "customer_currency_code": "currency",
}


class GoogleAdsChannel(ApiChannel):
    """Accounts of Google Ads.

    Args:
        name: The source's name.
        source: Its configuration.
        common: What it shares with other processes, and the time it goes by.
    """

    def __init__(self, name: str, source: GoogleAdsSource, common: Common) -> None:
        self._name, self._source = name, source
        headers = {"developer-token": source.developer_token.get_secret_value()}
        if source.manager:
            headers["login-customer-id"] = source.manager
        auth = source.credentials.auth(_SCOPE, name, common)
        auth.secrets.add(headers["developer-token"])
        self.client = Client(
            source.base_url or _URL,
            name,
            auth=auth,
            rules=_RULES,
            headers=headers,
            budget=common.budget(name, 10, 1, concurrent=4),
            clock=common.clock,
            upgrade=versions.ending("google_ads", source.version).upgrade,
        )

    def accounts(self) -> list[Account]:
        """Return the accounts that have campaigns; managers have none."""
        found: dict[str, Account] = {}
        for root in [self._source.manager] if self._source.manager else self._roots():
            query = (
                "SELECT customer_client.id, customer_client.descriptive_name, customer_client.currency_code, "
                "customer_client.time_zone, customer_client.manager, customer_client.status FROM customer_client"
            )
            for row in self._search(root, query):
                client = row["customerClient"]
                if client.get("manager") or client.get("status") in ("CLOSED", "CANCELED"):
                    continue
                name = str(client["id"])
                found[name] = Account(
                    name,
                    str(client.get("timeZone") or "UTC"),
                    str(client.get("descriptiveName") or ""),
                    str(client.get("currencyCode") or ""),
                )
        wanted = self._source.customers
        # One that is listed and not reached fails by its name when it is read.
        return [found.get(name, Account(name)) for name in wanted] if wanted else list(found.values())

    def _roots(self) -> list[str]:
        if self._source.customers:
            return list(self._source.customers)
        body = self.client.send(Request(f"{self._source.version}/customers:listAccessibleCustomers")).body
        return [str(name).removeprefix("customers/") for name in at(body, "resourceNames") or []]

    def layout(self, table: str) -> Layout:
        """See `Channel`."""
        found = self._source.tables[table]
        _, fields, key = self._report(table)
        day = None if table in ENTITIES and found.resource is None else "segments_date"
        metrics = [column_of(field) for field in fields if field.startswith("metrics.") or field.endswith("_micros")]
        return Layout.of(
            found,
            key=(*((day,) if day else ()), *key),
            day=day,
            types={name: "decimal" if name in _DECIMALS else "int" for name in metrics},
            lookback=_LOOKBACK,
            step=_STEP,
            oldest=_OLDEST,
        )

    def endings(self) -> Sequence[Ending]:
        """See `Channel`."""
        return [versions.ending("google_ads", self._source.version)]

    def read(self, ask: Ask) -> Iterator[dict[str, Any]]:
        """See `Channel`."""
        resource, fields, _ = self._report(ask.table)
        if ask.window is None:
            query = f"SELECT {', '.join(fields)} FROM {resource}"  # noqa: S608  names were validated
        else:
            days = f"segments.date BETWEEN '{ask.window.first}' AND '{ask.window.last}'"
            query = f"SELECT segments.date, {', '.join(fields)} FROM {resource} WHERE {days}"  # noqa: S608  likewise
        wanted: dict[str, Any] = {column_of(field): None for field in fields}
        for row in self._search(ask.account.id, query):
            # A field without a value is left out of the answer.
            flat = wanted | dict(_flat(row))
            yield {
                _OF_ACCOUNT.get(name, name): value for name, value in flat.items() if not name.endswith("resource_name")
            }

    def _report(self, table: str) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
        found = self._source.tables[table]
        if found.resource is not None:
            return found.resource, found.fields, found.key
        return REPORTS[table] if table in REPORTS else ENTITIES[table]

    def _search(self, customer: str, query: str) -> Iterator[Mapping[str, Any]]:
        request = Request(
            f"{self._source.version}/customers/{customer}/googleAds:searchStream", "POST", json={"query": query}
        )
        with self.client.stream(request) as chunks:
            for batch in elements(chunks, self.client.endpoint(request)):
                if "error" in batch:
                    raise SourceError(f"the stream broke off: {at(batch, 'error.message')}", self._name, "run again")
                yield from batch.get("results", [])


def column_of(field: str) -> str:
    """Return the column of a field of GAQL: `campaign.id` is `campaign_id`, `metrics.clicks` is `clicks`."""
    return field.removeprefix("metrics.").replace(".", "_")


def _flat(row: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in row.items():
        path = f"{prefix}{_WORD.sub('_', name).lower()}"
        if isinstance(value, dict):
            yield from _flat(value, "" if path == "metrics" else f"{path}_")
        else:
            yield path, value
