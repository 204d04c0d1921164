"""What a company adds to the packages without editing them: columns of staging models, an advertising platform."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr

from tasks import dbt
from tasks.dbt.company import write_project
from tasks.settings import Settings
from tests.integration.dbt import by_hand

pytestmark = pytest.mark.slow

COLUMNS: dict[str, list[dict[str, Any]]] = {
    "stg_shop__orders": [
        {"name": "gift_note", "path": "gift.note", "type": "text"},
        {"name": "points", "path": ["bonus", "points"], "type": "bigint"},
        {"name": "not_yet", "type": "numeric"},
    ],
    "stg_ads__google_ads": [{"name": "budget", "type": "numeric"}],
}


def test_further_columns_of_bronze_come_along_in_the_staging_models(postgres_url: str, tmp_path: Path) -> None:
    settings = Settings(url=SecretStr(postgres_url), home=tmp_path)
    with psycopg.connect(postgres_url) as connection:
        orders = [{"_id": "a", "gift": {"note": "hello"}, "points": "12"}, {"_id": "b", "bonus": 3}]
        by_hand.load_documents(connection, "shop", "orders", orders)
        spend = {"_id": "g", "budget": 5, "cost_micros": 2_000_000, "customer_id": "1", "campaign_id": "2"}
        by_hand.load_documents(connection, "ads", "google_ads", [spend])
        connection.commit()
        wanted = [*COLUMNS, "int_ads__spend"]
        dbt.run(settings, wanted, exclude=["resource_type:test"], variables={"passthrough_columns": COLUMNS}).check()
        found = connection.execute(
            "select order_id, gift_note, points, not_yet from silver.stg_shop__orders order by 1"
        )
        assert found.fetchall() == [("a", "hello", 12, None), ("b", None, 3, None)]
        assert connection.execute("select budget::int, spend::int from silver.stg_ads__google_ads").fetchall() == [
            (5, 2)
        ]
        # Platforms stay one model: a column of one of them is none of all.
        assert connection.execute("select ad_spend_id, spend::int from silver.int_ads__spend").fetchall() == [
            ("google_ads:g", 2)
        ]


PLATFORM = """
{%- set bronze = warehouse.bronze_table('pinterest', 'days') -%}
select
    {{ warehouse_ads.ad_columns(bronze,
        spent_on=warehouse.bronze_value(bronze, 'day', 'date'),
        account_id=warehouse.bronze_value(bronze, 'advertiser', 'text'),
        campaign_id=warehouse.bronze_value(bronze, 'campaign', 'text'),
        campaign_name=warehouse.bronze_value(bronze, 'title', 'text'),
        currency=warehouse.bronze_value(bronze, 'currency', 'text'),
        impressions=warehouse.bronze_value(bronze, 'shown', 'bigint'),
        clicks=warehouse.bronze_value(bronze, 'clicks', 'bigint'),
        spend=warehouse.bronze_value(bronze, 'spend', 'numeric'),
        conversions='null::numeric',
        conversions_value='null::numeric'
    ) }}
from {{ bronze.rows }}
"""


def test_a_new_platform_is_one_staging_model_and_one_entry(postgres_url: str, tmp_path: Path) -> None:
    folder = tmp_path / "own"
    write_project(folder, packages=("core", "ads"))
    (folder / "models/silver/stg_ads__pinterest_ads.sql").write_text(PLATFORM)
    source = "sources: [{name: pinterest, schema: bronze, tables: [{name: days, identifier: pinterest__days}]}]"
    (folder / "models/silver/_sources.yml").write_text(source)
    settings = Settings(url=SecretStr(postgres_url), home=tmp_path / "home", dbt=folder)
    days = [
        {"_id": "p", "day": date(2026, 3, 2), "advertiser": "7", "campaign": "9", "title": "spring_shopping",
         "currency": "eur", "shown": 90, "clicks": 3, "spend": "4.05"},
    ]  # fmt: skip
    platform = {"platform": "pinterest_ads", "source": "pinterest", "medium": "paid_social", "sources": ["pinterest"]}
    with psycopg.connect(postgres_url) as connection:
        by_hand.load_documents(connection, "pinterest", "days", days)
        connection.commit()
        dbt.run(settings, variables={"ads_platforms": [platform | {"days_in": "UTC"}]}).check()
        found = connection.execute(
            "select spend.campaign_key, channel_id, campaigns.campaign_name, spent_on, spend, days_in"
            " from gold.fct_ad_spend_daily as spend join gold.dim_campaign as campaigns using (campaign_key)"
        ).fetchall()
    channel = "pinterest / paid_social / shopping"
    expected = ("pinterest_ads:7:9", channel, "spring_shopping", date(2026, 3, 2), Decimal("4.05"), "UTC")
    assert found == [expected]
