"""The demo in small, twice: the whole job on embedded servers, as `make demo` runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest

from flows import demo
from infra.embedded import channels, postgres
from infra.sample import Shop, Size, ad_spend

pytestmark = pytest.mark.slow

CHECKOUT = Path(demo.__file__).parents[1]
SCRIPT = """\
import sys
from flows.demo import run_demo
from tasks.settings import get_settings
sys.exit(run_demo(get_settings(), customers=60))
"""


@pytest.fixture(scope="module")
def environment(servers_home: Path, prefect_api_url: str) -> Iterator[dict[str, str]]:
    """The environment of a person who also has real servers configured, which the demo must leave alone."""
    sources = servers_home / "demo-sources.yaml"
    text = (CHECKOUT / "sources.yaml").read_text()
    sources.write_text(text.replace(".warehouse/", f"{servers_home}/"))
    assert prefect_api_url
    yield {
        **os.environ,
        "WAREHOUSE_HOME": str(servers_home),
        "WAREHOUSE_SOURCES": str(sources),
        "WAREHOUSE_URL": "postgresql://production.invalid/warehouse",
        "MONGODB_URI": "mongodb://production.invalid/",
        "SAMPLE_CHANNELS_URL": "https://production.invalid",
        "PREFECT_API_URL": "http://production.invalid/api",
    }


def run_demo(environment: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=CHECKOUT, env=environment, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr[-4000:] + done.stdout[-4000:]
    assert "MONGODB_URI is set aside" in done.stderr
    return done.stdout + done.stderr


def rows(home: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(postgres.url(Path(home))) as connection:
        return connection.execute(query.encode()).fetchall()


def spent(shop: Shop, *, final: bool) -> dict[tuple[str, date], Decimal]:
    """Return the spend of each platform and day as the generator has it; two platforms tell cents."""
    found: dict[tuple[str, date], Decimal] = defaultdict(Decimal)
    for row in ad_spend(shop, final=final):
        places = "0.01" if row.campaign.platform in ("meta_ads", "tiktok_ads") else "0.000001"
        found[row.campaign.platform, row.day] += row.spend.quantize(Decimal(places))
    return dict(found)


def the_channels_were_read_and_restated(home: str) -> None:
    """Gold holds what the generator says of the second day; what the first said is in the ledger of restatements."""
    until = datetime.fromisoformat(json.loads((Path(home) / "demo.json").read_text())["until"])
    shop = Size(customers=60, end_date=until, incidents=True).shop()
    first, last = spent(shop, final=False), spent(shop, final=True)
    gold = rows(home, "select platform, spent_on, sum(original_spend) from gold.fct_ad_spend_daily group by 1, 2")
    assert {(platform, day): spend for platform, day, spend in gold} == last
    read_from = rows(home, "select distinct platform, read_from from silver.int_ads__spend")
    assert dict(read_from) == {
        **{"google_ads": "google_ads__ads", "meta_ads": "meta_ads__ads"},
        **{"tiktok_ads": "ads__tiktok_ads", "linkedin_ads": "ads__linkedin_ads"},
    }
    changed = rows(
        home,
        "select source, day, coalesce((totals_before ->> 'cost_micros')::numeric / 1000000, "
        "(totals_before ->> 'spend')::numeric), coalesce((totals ->> 'cost_micros')::numeric / 1000000, "
        "(totals ->> 'spend')::numeric) from ops.restatements where table_name = 'ads'",
    )
    final_day = (until - timedelta(microseconds=1)).date()
    days = [final_day - timedelta(days=back) for back in range(3)]
    restated = [(platform, day) for platform in ("google_ads", "meta_ads") for day in days]
    assert {(source, day): (before, after) for source, day, before, after in changed} == {
        key: (first[key], last[key]) for key in restated if key in first
    }
    assert len(changed) > 3
    visits = len(list(shop.all_visits()))
    assert rows(home, "select sum(sessions) from gold.fct_web_analytics_daily") == [(visits,)]


@pytest.mark.timeout(1800)
def test_the_demo_tells_what_came_of_it_and_can_be_run_again(environment: dict[str, str]) -> None:
    home = environment["WAREHOUSE_HOME"]
    shown = run_demo(environment)

    assert shown.count("All well") >= 2
    assert "DIFFERENT" not in shown
    assert "renamed field: customers.phone" in shown
    assert "Where to look" in shown
    changes = rows(home, "select table_name, field, change from ops.schema_changes")
    assert ("customers", "loyalty_tier", "appeared") in changes
    assert ("customers", "phone_number", "renamed") in changes
    assert ("orders", "total", "type_conflict") in changes
    rescued = rows(home, "select count(*) from bronze.shop__orders where _rescued ? 'total'")[0][0]
    gold = rows(home, "select count(*) from gold.fct_order")[0][0]
    assert rescued > 0
    assert gold == rows(home, "select count(*) from bronze.shop__orders where _deleted_at is null")[0][0]
    assert rows(home, "select line, source_value, bronze_value, gold_value from monitoring.reconciliation "
                "where state = 'differs'") == []  # fmt: skip
    looking = "select sum((part ->> 'cpu_seconds')::float8) from monitoring.looks, jsonb_array_elements(parts) as part"
    assert 0 < rows(home, looking)[0][0] < 2, "who watches must not be dear"
    stages = rows(home, "select distinct stage from monitoring.pipeline_log")
    assert {stage for (stage,) in stages} >= {"pipeline", "extract", "load", "dbt"}
    assert (Path(home) / "run-report.html").stat().st_size > 1000
    the_channels_were_read_and_restated(home)
    fakes = channels.status(Path(home))
    assert fakes.running

    again = run_demo(environment)

    assert "the sample is there already" in again
    assert "DIFFERENT" not in again
    assert json.loads((Path(home) / "demo.json").read_text())["rounds"] == 2
    assert channels.status(Path(home)) == fakes
