"""The incidents that the demo's shop plants, by monitoring's own rules: each is found, and nothing else is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from infra.sample import Shop, Size, ad_spend
from infra.sample.incidents import DAYS_BACK
from monitoring.anomalies import Series, look
from monitoring.measures import MEASURES

END = datetime(2026, 10, 20, 9, tzinfo=UTC)
ZONE = ZoneInfo("Europe/Berlin")
LIMITS = {measure.name: measure.limits for measure in MEASURES}
Key = tuple[str, str]


def series(shop: Shop) -> dict[Key, dict[date, float]]:
    """Return the figures that monitoring takes from gold, made from the sample itself."""
    found: dict[Key, dict[date, float]] = defaultdict(lambda: defaultdict(float))
    for row in ad_spend(shop, final=False):
        found["spend", row.campaign.platform][row.day] += float(row.spend)
    unknown: dict[date, list[bool]] = defaultdict(list)
    for order in shop.documents("orders"):
        day = order["placed_at"].astimezone(ZONE).date()
        found["orders", ""][day] += 1
        found["revenue", order["currency"]][day] += float(order["total"].to_decimal())
        unknown[day].append("session_id" not in order)
    found["orders without a visit", ""] = {
        day: sum(values) / len(values) if len(values) >= 5 else 0.0 for day, values in unknown.items()
    }
    return found


def odd_days(figures: dict[Key, dict[date, float]]) -> Iterator[tuple[str, str, int, str]]:
    """Yield what the first look of a new warehouse finds: measure, of what, how many days back, rule."""
    for (measure, name), values in figures.items():
        last = max(values)
        known = {day: value for day, value in values.items() if day > END.date() - timedelta(days=120)}
        for day in (last - timedelta(days=back) for back in range(15)):
            found = look(Series(known, day), LIMITS[measure])
            if found and (day < END.date() or (found.score or 0) > 0):
                yield measure, name, (END.date() - day).days, found.rule


@pytest.fixture(scope="module")
def found() -> dict[bool, set[Any]]:
    return {
        incidents: set(odd_days(series(Size(end_date=END, incidents=incidents).shop()))) for incidents in (True, False)
    }


def test_each_planted_incident_is_found_and_nothing_else(found: dict[bool, set[Any]]) -> None:
    assert found[False] == set()
    prices = {one for one in found[True] if one[0] == "revenue" and one[2] == DAYS_BACK["wrong prices"]}
    assert ("revenue", "EUR", DAYS_BACK["wrong prices"], "unusual") in prices
    assert found[True] - prices == {
        ("spend", "meta_ads", DAYS_BACK["no spend"], "missing day"),
        ("spend", "linkedin_ads", DAYS_BACK["doubled spend"], "doubled"),
        ("spend", "google_ads", DAYS_BACK["zero spend"], "never zero"),
        ("orders without a visit", "", DAYS_BACK["no visits"], "unusual"),
    }
