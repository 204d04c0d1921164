"""Columns that a company adds to a package's staging models by a var."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr

from tasks import dbt
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
