"""A small dbt project of a company, over two tables of bronze, for tests of how models are built and shown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr

from tasks import database, dbt
from tasks.ops.migrations import migrate
from tasks.settings import Settings

FILES = {
    "dbt_project.yml": """
name: own
version: "1.0"
config-version: 2
profile: warehouse
flags: {send_anonymous_usage_stats: false}
vars: {factor: 1}
models:
  own:
    silver: {+schema: silver, +materialized: view}
    gold: {+schema: gold, +materialized: table}
""",
    "macros/names.sql": """
{% macro generate_schema_name(name, node) %}{{ name or target.schema }}{% endmacro %}
{% macro doubled(column) %}{{ column }} * 2{% endmacro %}
""",
    "models/silver/_sources.yml": """
sources:
- name: shop
  schema: bronze
  tables:
  - {name: orders, identifier: shop__orders, loaded_at_field: _loaded_at,
     config: {freshness: {warn_after: {count: 1, period: hour}}}}
- name: ads
  schema: bronze
  tables: [{name: spend, identifier: ads__spend}]
""",
    "models/silver/stg_orders.sql": "select _id as order_id, total, _loaded_at from {{ source('shop', 'orders') }}",
    "models/silver/stg_spend.sql": "select _id as day, spend from {{ source('ads', 'spend') }}",
    "models/gold/fct_order.sql": """
{{ config(materialized='incremental', unique_key='order_id', indexes=[{'columns': ['order_id'], 'unique': true}]) }}
select order_id, total, {{ doubled('total') }} as twice, _loaded_at, now() as built_at from {{ ref('stg_orders') }}
{% if is_incremental() %}where _loaded_at > (select max(_loaded_at) from {{ this }}){% endif %}
""",
    "models/gold/fct_spend.sql": "select day, spend * {{ var('factor') }} as spend from {{ ref('stg_spend') }}",
    "models/gold/rpt_day.sql": """
select count(*) as orders, sum(total) as total, (select sum(spend) from {{ ref('fct_spend') }}) as spend
from {{ ref('fct_order') }}
""",
    "models/gold/_models.yml": """
models:
- name: fct_order
  config: {meta: {owner: ana@example.com}}
  columns: [{name: order_id, data_tests: [not_null]}, {name: total, data_tests: [not_null]}]
""",
}


class Shop:
    """Bronze by hand, with what loading writes into ops."""

    def __init__(self, url: str, home: Path) -> None:
        self.url = url
        self.folder = home / "own"
        for name, text in FILES.items():
            self.write(name, text)
        self.settings = Settings(url=SecretStr(url), home=home, dbt=self.folder)
        self.connection = database.connect(url, autocommit=True)
        migrate(self.connection)
        self._batches = 0

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def load(self, source: str, table: str, column: str, rows: dict[str, int | None]) -> None:
        """Upsert rows in one batch."""
        self._batches += 1
        batch, relation = f"b{self._batches:05}", f"{source}__{table}"
        with self.connection.transaction():
            self.connection.execute(
                f"create table if not exists bronze.{relation}"  # type: ignore[arg-type]
                f" (_id text primary key, {column} bigint, _loaded_at timestamptz default clock_timestamp())"
            )
            self.connection.execute(
                "insert into ops.tables (source, table_name, child, relation) values (%s, %s, '', %s)"
                " on conflict do nothing",
                [source, table, relation],
            )
            for key, value in rows.items():
                self.connection.execute(
                    f"insert into bronze.{relation} values (%s, %s) on conflict (_id) do update"  # type: ignore[arg-type]
                    f" set {column} = excluded.{column}, _loaded_at = clock_timestamp()",
                    [key, value],
                )
            self.note_batch(source, table, batch, len(rows))

    def note_batch(self, source: str, table: str, batch: str, rows: int) -> None:
        names = {"source": source, "table_name": table, "batch_id": batch, "rows_inserted": rows}
        required = self.connection.execute(
            "select column_name, data_type from information_schema.columns where table_schema = 'ops' "
            "and table_name = 'batches' and is_nullable = 'NO' and column_default is null"
        ).fetchall()
        fillers: dict[str, Any] = {"text": "x", "timestamp with time zone": "now", "jsonb": "{}"}
        values = {name: fillers.get(kind, 0) for name, kind in required} | names
        columns, places = ", ".join(values), ", ".join(["%s"] * len(values))
        statement = f"insert into ops.batches ({columns}) values ({places})"
        self.connection.execute(statement, list(values.values()))  # type: ignore[arg-type]

    def orders(self, **rows: int | None) -> None:
        self.load("shop", "orders", "total", rows)

    def spend(self, **rows: int | None) -> None:
        self.load("ads", "spend", "spend", rows)

    def build(self, **more: Any) -> dbt.DbtResult:
        """Build what lacks changes, as the pipeline does."""
        return dbt.run(self.settings, wanted=dbt.Wanted(changed=True), **more)

    def built(self, result: dbt.DbtResult) -> set[str]:
        return {node.name for node in result.nodes if node.relation and node.status == "success"}

    def one(self, query: str) -> Any:
        with psycopg.connect(self.url) as connection:
            row = connection.execute(query.encode()).fetchone()
        assert row is not None
        return row[0] if len(row) == 1 else row

    def leftovers(self) -> int:
        return int(self.one("select count(*) from pg_namespace where nspname ~ '__(next|old_)'"))


@pytest.fixture
def shop(postgres_url: str, tmp_path: Path) -> Iterator[Shop]:
    made = Shop(postgres_url, tmp_path)
    made.orders(a=1, b=2)
    made.spend(monday=7)
    yield made
    made.connection.close()
