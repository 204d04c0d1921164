"""Reading Google Analytics 4: one report a day, its pages reconciled with the count that the service gives."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

from tasks.errors import SourceError
from tasks.marketing import versions
from tasks.marketing.ga4.config import REPORTS, Ga4Source
from tasks.marketing.google import refusals
from tasks.marketing.rest.channel import Account, ApiChannel, Ask, Ending, Layout
from tasks.marketing.rest.client import Client, Reply, Request
from tasks.marketing.rest.common import Common
from tasks.marketing.rest.decode import positional
from tasks.marketing.rest.errors import Rule, Wait, at
from tasks.marketing.rest.rows import iso_day

_URL = "https://analyticsdata.googleapis.com"
_SCOPE = "https://www.googleapis.com/auth/analytics.readonly"
_HOUR = 3_600.0
_RULES = (
    *refusals(_SCOPE, "Google Analytics Data API"),
    # A property answers few requests at once; it is free again soon.
    Rule("wait", status=(429,), contains="concurrent", wait=Wait(seconds=30)),
    Rule("quota", status=(429,), contains="per hour", wait=Wait(seconds=_HOUR), say="the hour's tokens are used up"),
    Rule(
        "quota", status=(429,), contains="thresholded", wait=Wait(seconds=_HOUR / 2), say="too many thresholded reports"
    ),
    Rule("quota", status=(429,), contains="server errors", wait=Wait(seconds=_HOUR), say="too many server errors"),
    Rule("quota", status=(429,), wait=Wait(seconds=_HOUR), say="the tokens of the property are used up"),
    Rule(
        "skip_account",
        status=(403,),
        say="the property may not be read",
        advice="add the service account's address to the property as Viewer",
    ),
)
# The service keeps on processing for 24 to 48 hours.
_LOOKBACK = 3
_OTHER = "(other)"
# A tenth of the tokens that a standard property has for a day.
_FEW_TOKENS = 20_000
_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
# Metrics of whole numbers; all others are read as decimals.
_WHOLE = re.compile(r"(sessions|users|events|count|views|transactions|purchases|items\w+|conversions)$", re.IGNORECASE)


def snake(name: str) -> str:
    """Return `sessionSource` as `session_source`."""
    return _WORD.sub("_", name).lower().replace(":", "_").replace(".", "_")


class Ga4Channel(ApiChannel):
    """Properties of Google Analytics 4.

    Args:
        name: The source's name.
        source: Its configuration.
        common: What it shares with other processes, and the time it goes by.
    """

    def __init__(self, name: str, source: Ga4Source, common: Common) -> None:
        self._name, self._source = name, source
        # By property the tokens that its last answer left for the day.
        self._left: dict[str, int] = {}
        self.client = Client(
            source.base_url or _URL,
            name,
            auth=source.credentials.auth(_SCOPE, name, common),
            rules=_RULES,
            # Ten at once for a property, shared with whoever else asks.
            budget=common.budget(name, 10, 1, concurrent=4),
            clock=common.clock,
        )

    def accounts(self) -> list[Account]:
        """Return the properties; zone and currency come with a report of one row."""
        return [self._account(name) for name in self._source.properties]

    def _account(self, name: str) -> Account:
        yesterday = (self.client.clock.now() - timedelta(days=1)).date().isoformat()
        body = self._body((), ("sessions",), yesterday, yesterday) | {"limit": "1"}
        try:
            found = self._report(name, body).body
        except SourceError:
            # Read as any other account it will fail by its name, and stop no other.
            return Account(name)
        return Account(
            name, str(at(found, "metadata.timeZone") or "UTC"), currency=str(at(found, "metadata.currencyCode") or "")
        )

    def layout(self, table: str) -> Layout:
        """See `Channel`."""
        found = self._source.tables[table]
        dimensions, metrics = self._fields(table)
        kinds = {snake(metric): "int" if _WHOLE.search(metric) else "decimal" for metric in metrics}
        return Layout.of(
            found,
            key=("date", *(snake(dimension) for dimension in dimensions)),
            day="date",
            types=kinds,
            lookback=_LOOKBACK,
            # One day at a time: the fewer events a report looks at, the less is sampled.
            step=1,
        )

    def endings(self) -> Sequence[Ending]:
        """See `Channel`."""
        return [versions.ending("ga4", self._source.version)]

    def warnings(self) -> Iterator[str]:
        """See `Channel`."""
        yield from super().warnings()
        for name, left in self._left.items():
            if left < _FEW_TOKENS:
                yield f"property {name} has {left:,} tokens of its quota left until midnight Pacific time"

    def read(self, ask: Ask) -> Iterator[dict[str, Any]]:
        """See `Channel`."""
        assert ask.window is not None  # noqa: S101  every table has a day
        dimensions, metrics = self._fields(ask.table)
        body = self._body(dimensions, metrics, ask.window.first.isoformat(), ask.window.last.isoformat())
        body["keepEmptyRows"] = self._source.tables[ask.table].keep_empty
        read, total = 0, None
        while total is None or read < total:
            # int64 travels as text.
            reply = self._report(ask.account.id, body | {"offset": str(read), "limit": str(self._source.rows)})
            count = int(at(reply.body, "rowCount") or 0)
            if total is not None and count != total:
                raise SourceError(
                    f"the report changed while it was read: {total} rows, then {count}", reply.where, "run again"
                )
            total = count
            rows = at(reply.body, "rows") or []
            read += len(rows)
            yield from _named(reply, rows, ask.account)
            if not rows:
                break
        if read != total:
            raise SourceError(f"{read} rows came where the report counts {total}", self._name, "run again")

    def _fields(self, table: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        found = self._source.tables[table]
        known = REPORTS.get(table, ((), ()))
        return (found.dimensions, found.metrics) if found.metrics else known

    def _body(self, dimensions: Sequence[str], metrics: Sequence[str], first: str, last: str) -> dict[str, Any]:
        return {
            "dimensions": [{"name": name} for name in ("date", *dimensions)],
            "metrics": [{"name": name} for name in metrics],
            "dateRanges": [{"startDate": first, "endDate": last}],
            "returnPropertyQuota": True,
        }

    def _report(self, name: str, body: dict[str, Any]) -> Reply:
        path = f"{self._source.version}/properties/{name}:runReport"
        reply = self.client.send(Request(path, "POST", json=body))
        if tokens := at(reply.body, "propertyQuota.tokensPerDay"):
            # What is zero is left out of an answer.
            self._left[name] = int(tokens.get("remaining", 0))
        return reply


def _named(reply: Reply, rows: Sequence[Any], account: Account) -> Iterator[dict[str, Any]]:
    """Yield the rows of a page under the names of its own headers, with what the service says of their quality."""
    headers = [*_names(reply.body, "dimensionHeaders"), *_names(reply.body, "metricHeaders")]
    dimensions = len(_names(reply.body, "dimensionHeaders"))
    metadata = at(reply.body, "metadata") or {}
    samples = metadata.get("samplingMetadatas") or [{}]
    quality = {
        "property_currency": metadata.get("currencyCode") or account.currency or None,
        "data_loss_from_other_row": bool(metadata.get("dataLossFromOtherRow", False)),
        "subject_to_thresholding": bool(metadata.get("subjectToThresholding", False)),
        "samples_read": _number(samples[0].get("samplesReadCount")),
        "sampling_space": _number(samples[0].get("samplingSpaceSize")),
    }
    values = (
        [cell.get("value") for part in ("dimensionValues", "metricValues") for cell in row.get(part, [])]
        for row in rows
    )
    names = [snake(header) for header in headers]
    for record in positional(names, values, reply.where):
        cells = [record[name] for name in names[:dimensions]]
        yield {**record, "date": iso_day(record["date"]) or record["date"], "is_other_row": _OTHER in cells, **quality}


def _names(body: Any, path: str) -> list[str]:
    """Return the names of headers."""
    return [str(header.get("name")) for header in at(body, path) or []]


def _number(value: Any) -> int | None:
    return None if value is None else int(value)
