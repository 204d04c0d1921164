"""A small shop in MongoDB, an empty warehouse and a sources.yaml of its own for each test of the flows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tasks.settings import get_settings

ORDERS = [{"_id": number, "total": number * 10, "updated_at": number} for number in range(1, 201)]
TAGS = [{"_id": f"tag-{number}", "label": f"Label {number}"} for number in range(7)]


@dataclass
class Shop:
    """What a test needs at hand."""

    uri: str
    database: str
    warehouse: str
    sources: Path

    def write_sources(self, **tables: str) -> None:
        """Write sources.yaml with these tables of the source `shop`."""
        lines = [f"      {name}: {options}" for name, options in tables.items()]
        head = (
            f"sources:\n  shop:\n    kind: mongodb\n    uri: {self.uri}\n    database: {self.database}\n    tables:\n"
        )
        self.sources.write_text(head + "\n".join(lines) + "\n")

    def query(self, text: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Return the rows of a query on the warehouse."""
        with psycopg.connect(self.warehouse) as connection:
            return connection.execute(text.encode(), parameters).fetchall()

    def count(self, table: str) -> int:
        """Return the living rows of a bronze table."""
        return int(self.query(f'select count(*) from bronze."{table}" where _deleted_at is null')[0][0])


@pytest.fixture
def shop(
    mongodb_uri: str,
    mongodb_database: str,
    postgres_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Shop]:
    """A shop with 200 orders and 7 tags, read by two tables."""
    from pymongo import MongoClient

    with MongoClient(mongodb_uri) as client:
        client[mongodb_database]["orders"].insert_many(ORDERS)
        client[mongodb_database]["tags"].insert_many(TAGS)
    made = Shop(mongodb_uri, mongodb_database, postgres_url, tmp_path / "sources.yaml")
    made.write_sources(orders="{mode: incremental, cursor: updated_at}", tags="{mode: full}")
    monkeypatch.setenv("WAREHOUSE_URL", postgres_url)
    monkeypatch.setenv("WAREHOUSE_SOURCES", str(made.sources))
    monkeypatch.setenv("WAREHOUSE_HOME", str(tmp_path))
    monkeypatch.delenv("WAREHOUSE_EXECUTION", raising=False)
    monkeypatch.delenv("WAREHOUSE_LANDING", raising=False)
    get_settings.cache_clear()
    yield made
    get_settings.cache_clear()


@pytest.fixture
def run_pipeline(shop: Shop, prefect_server: str) -> Callable[..., Any]:
    """Run the pipeline in this process, without dbt, and return its final state."""
    from flows.launch import quiet_heartbeat
    from flows.pipeline import pipeline

    def run(**parameters: Any) -> Any:
        get_settings.cache_clear()
        with quiet_heartbeat():
            return pipeline(**{"models": False, **parameters}, return_state=True)

    return run


@pytest.fixture
def orders_alone(
    tmp_path: Path,
    mongodb_uri: str,
    mongodb_database: str,
    postgres_url: str,
    prefect_server: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Callable[[str], Any]]:
    """Configure a source of one table `orders` with these options, and return its empty database."""
    from pymongo import MongoClient

    config = tmp_path / "sources.yaml"
    for name, value in {
        "MONGODB_URI": mongodb_uri,
        "WAREHOUSE_URL": postgres_url,
        "WAREHOUSE_SOURCES": str(config),
        "WAREHOUSE_HOME": str(tmp_path),
    }.items():
        monkeypatch.setenv(name, value)
    get_settings.cache_clear()
    with MongoClient[dict[str, Any]](mongodb_uri) as client:

        def configure(options: str) -> Any:
            config.write_text(
                f"sources: {{shop: {{kind: mongodb, uri: '${{MONGODB_URI}}', database: {mongodb_database}, "
                f"tables: {{orders: {options}}}}}}}"
            )
            return client[mongodb_database]

        yield configure
    get_settings.cache_clear()
