"""A fake of Google Analytics' Data API: reports over events, grouped by whatever dimensions are asked for."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any

from infra.sample.channels.server import Answer, Asked, Fake

_PATH = re.compile(r"^v1beta/properties/(?P<property>\d+):runReport$")
_MOST, _DEFAULT = 250_000, 10_000
_MONEY = ("purchaseRevenue", "totalRevenue", "itemRevenue", "eventValue")


@dataclass
class Property:
    """One property.

    Attributes:
        rows: By day, each row's dimensions and metrics by their names.
        flags: What `metadata` says beside zone and currency.
    """

    id: str
    timezone: str = "Europe/Berlin"
    currency: str = "EUR"
    forbidden: bool = False
    rows: dict[date, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    flags: dict[str, Any] = field(default_factory=dict)

    def put(self, day: date, rows: Iterable[dict[str, Any]]) -> None:
        """Set what happened on a day, whatever was there."""
        self.rows[day] = list(rows)


class Ga4Fake(Fake):
    """Properties that one service account may read.

    Args:
        properties: The properties.
        count_off: Added to the count of rows that answers tell, to see whether it is believed.
    """

    def __init__(self, *properties: Property, count_off: int = 0) -> None:
        super().__init__()
        self.properties = {one.id: one for one in properties}
        self.count_off = count_off
        # Headers of every second page come in the opposite order.
        self.reorders = False
        self.tokens_given = 0
        self.tokens_left = 200_000
        self.anonymous = False

    def answer(self, asked: Asked) -> Answer:
        """See `Fake`."""
        if asked.path == "token":
            self.tokens_given += 1
            return Answer(
                {"access_token": f"ga4-access-{self.tokens_given}", "expires_in": 3600, "token_type": "Bearer"}
            )
        signed = asked.headers.get("authorization", "").removeprefix("Bearer ga4-access-")
        if signed not in map(str, range(1, self.tokens_given + 1)) and not self.anonymous:
            return refused(401, "Request had invalid authentication credentials.", "UNAUTHENTICATED")
        match = _PATH.match(asked.path)
        if match is None:
            return refused(404, "Not found.", "NOT_FOUND")
        found = self.properties.get(match["property"])
        if found is None or found.forbidden:
            return refused(403, "User does not have sufficient permissions for this property.", "PERMISSION_DENIED")
        return self._report(found, asked.json)

    def _report(self, found: Property, body: dict[str, Any]) -> Answer:
        dimensions = [one["name"] for one in body.get("dimensions", [])]
        metrics = [one["name"] for one in body.get("metrics", [])]
        (days,) = body["dateRanges"]
        first, last = date.fromisoformat(days["startDate"]), date.fromisoformat(days["endDate"])
        summed: dict[tuple[str, ...], list[Decimal]] = {}
        for day in sorted(found.rows):
            if not first <= day <= last:
                continue
            for row in found.rows[day]:
                key = tuple(
                    f"{day:%Y%m%d}" if name == "date" else str(row.get(name, "(not set)")) for name in dimensions
                )
                sums = summed.setdefault(key, [Decimal(0)] * len(metrics))
                for index, name in enumerate(metrics):
                    sums[index] += Decimal(str(row.get(name, 0)))
        offset, limit = int(body.get("offset") or 0), min(int(body.get("limit") or _DEFAULT), _MOST)
        page = [
            {
                "dimensionValues": [{"value": value} for value in key],
                "metricValues": [{"value": f"{value:f}"} for value in sums],
            }
            for key, sums in sorted(summed.items())[offset : offset + limit]
        ]
        headers: dict[str, Any] = {
            "dimensionHeaders": [{"name": name} for name in dimensions],
            "metricHeaders": [
                {"name": name, "type": "TYPE_CURRENCY" if name in _MONEY else "TYPE_INTEGER"} for name in metrics
            ],
        }
        if self.reorders and offset:
            headers = {name: values[::-1] for name, values in headers.items()}
            page = [{name: values[::-1] for name, values in row.items()} for row in page]
        self.tokens_left -= 1
        answer: dict[str, Any] = {
            **headers,
            "metadata": {"currencyCode": found.currency, "timeZone": found.timezone, **found.flags},
            # What is zero is left out.
            "propertyQuota": {
                "tokensPerDay": {"consumed": 1} | ({"remaining": self.tokens_left} if self.tokens_left else {})
            },
            "kind": "analyticsData#runReport",
        }
        if summed:
            answer |= {"rows": page, "rowCount": len(summed) + self.count_off}
        return Answer(answer)


def refused(status: int, message: str, word: str, headers: dict[str, str] | None = None) -> Answer:
    """Return an error in the form that the service gives it."""
    return Answer({"error": {"code": status, "message": message, "status": word}}, status, headers or {})
