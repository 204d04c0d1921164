"""Attribution against marketing-attribution-models: journeys, and what its release 2.1.1 gives each channel.

The figures were made with `mam.core.MAM(format_type="journey")` and its `run_*` methods, half-life 168 hours; it has no
model of the last non-direct visit, which test_truth.py computes by itself.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from pydantic import SecretStr

from tasks import dbt
from tasks.settings import Settings
from tests.integration.dbt import by_hand
from tests.integration.dbt.test_rules import order, utm, visit

pytestmark = pytest.mark.slow

DIRECT, GOOGLE, BING, FACEBOOK, MAIL = (
    *("(direct) / (none)", "google / cpc", "bing / cpc"),
    *("facebook / paid_social", "newsletter / email"),
)
# Channel of each visit, and how many hours before the order it began.
JOURNEYS = (
    ((GOOGLE, 2),),
    ((GOOGLE, 30), (DIRECT, 1)),
    ((FACEBOOK, 500), (GOOGLE, 77), (DIRECT, 3)),
    ((MAIL, 700), (FACEBOOK, 333), (GOOGLE, 168), (BING, 5)),
    ((DIRECT, 400), (GOOGLE, 300), (DIRECT, 200), (DIRECT, 100)),
    ((BING, 90), (BING, 80), (MAIL, 70)),
    ((FACEBOOK, 600), (FACEBOOK, 450), (GOOGLE, 336), (MAIL, 24), (GOOGLE, 1)),
)
ATTRIBUTED = {
    "first_touch": {DIRECT: 1, BING: 1, FACEBOOK: 2, GOOGLE: 2, MAIL: 1},
    "last_touch": {DIRECT: 3, BING: 1, GOOGLE: 2, MAIL: 1},
    "linear": {DIRECT: 1.583333333, BING: 0.916666667, FACEBOOK: 0.983333333, GOOGLE: 2.733333333, MAIL: 0.783333333},
    "position": {DIRECT: 1.8, BING: 1.0, FACEBOOK: 0.966666667, GOOGLE: 2.366666667, MAIL: 0.866666667},
    "time_decay": {
        **{DIRECT: 1.882590581, BING: 1.200572322, FACEBOOK: 0.310969528, GOOGLE: 2.848896122, MAIL: 0.756971447},
    },
}


def test_each_channel_gets_what_the_library_gives_it(postgres_url: str, tmp_path: Path) -> None:
    placed = datetime(2026, 3, 31, 12, tzinfo=UTC)
    orders, events = [], []
    for number, journey in enumerate(JOURNEYS):
        sessions = [f"p{number}-{place}" for place in range(len(journey))]
        for session, (channel, hours) in zip(sessions, journey, strict=True):
            source, medium = channel.split(" / ")
            landing = {} if channel == DIRECT else utm(source, medium)
            start = (placed - timedelta(hours=hours)).isoformat()[:16]
            events += visit(session, start, customer=f"p{number}", **landing)
        buyer = {"customer_id": f"p{number}", "session_id": sessions[-1]}
        orders.append(order(f"o{number}", placed.isoformat()[:16], ("pan", 1, "10.00"), **buyer))
    with psycopg.connect(postgres_url) as connection:
        by_hand.load_documents(connection, "shop", "orders", orders, ("items", "payments"))
        by_hand.load_documents(connection, "shop", "events", events)
        connection.commit()
        settings = Settings(url=SecretStr(postgres_url), home=tmp_path)
        dbt.run(settings, ["+fct_attribution"], exclude=["resource_type:test", "resource_type:unit_test"]).check()
        found: dict[str, dict[str, float]] = defaultdict(dict)
        query = "select attribution_model, channel_id, sum(weight)::float8 from gold.fct_attribution group by 1, 2"
        for model, channel, weight in connection.execute(query):
            found[model][channel] = weight
    for model, expected in ATTRIBUTED.items():
        assert found[model] == pytest.approx(expected, abs=1e-8), model
