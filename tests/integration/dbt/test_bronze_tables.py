"""What bronze has reaches silver, whatever dbt's threads do at the same time."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from pydantic import SecretStr

from tasks import dbt
from tasks.settings import Settings
from tests.integration.dbt import by_hand

pytestmark = pytest.mark.slow

TABLES = ("customers", "products", "orders", "events")
# Python reads it as it starts, so in the process of dbt too: what a schema holds becomes known bit by bit.
SLOW_CACHE = """
import time
from dbt.adapters.cache import RelationsCache
add = RelationsCache.add
def add_slowly(self, relation):
    add(self, relation)
    time.sleep(0.3)
RelationsCache.add = add_slowly
"""


def test_a_table_is_read_while_another_thread_still_looks_at_what_bronze_has(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with psycopg.connect(postgres_url) as connection:
        for table in TABLES:
            by_hand.load_documents(connection, "shop", table, [{"_id": "1", "created_at": datetime.now(UTC)}])
    (tmp_path / "sitecustomize.py").write_text(SLOW_CACHE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    settings = Settings(url=SecretStr(postgres_url), home=tmp_path)
    dbt.run(settings, select=[f"stg_shop__{table}" for table in TABLES]).check()
    with psycopg.connect(postgres_url) as connection:
        for table in TABLES:
            [(rows,)] = connection.execute(f"select count(*) from silver.stg_shop__{table}".encode()).fetchall()
            assert rows == 1, table
