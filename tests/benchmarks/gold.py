"""Gold: building the facts of an order table from nothing, and again after one percent of it has changed."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import psycopg
from pydantic import SecretStr

from tasks import dbt
from tasks.settings import Settings

# Items per order, of which the size of the benchmark is told.
_ITEMS = 2.5
_TESTS = ("resource_type:test", "resource_type:unit_test")
FACTS = ("fct_order", "fct_order_item", "fct_payment", "fct_refund")
# Bronze as the loader lays it out, filled by the server itself.
_FILL = """
drop schema if exists bronze cascade; drop schema if exists silver cascade; drop schema if exists gold cascade;
create schema bronze;
create table bronze.shop__products as
select 'p' || n as _id, 's' || n as sku, 'Product ' || n as name, 9.99 as price, 4.20 as cost, 'EUR' as currency,
    timestamptz '2024-01-01' as created_at, timestamptz '2024-01-01' as updated_at, null::timestamptz as _deleted_at,
    timestamptz '2026-01-01' as _loaded_at
from generate_series(1, 1000) as n;
create table bronze.shop__orders as
select 'o' || n as _id, 'N' || n as order_number, 'c' || n % ({orders} / 3 + 1) as customer_id, 'paid' as status,
    'EUR' as currency, 25.00 as subtotal, 0.00 as discount, 0.00 as shipping, 3.99 as tax, 25.00 as total,
    case when n % 20 = 0
        then '[{{"amount": {{"$numberDecimal": "5.00"}}, "refunded_at": {{"$date": "2026-01-02T00:00:00Z"}}}}]'
    end::jsonb as refunds,
    timestamptz '2024-01-01' + n % 700 * interval '1 day' as placed_at, timestamptz '2026-01-01' as updated_at,
    timestamptz '2026-01-01' as _loaded_at, null::timestamptz as _deleted_at
from generate_series(1, {orders}) as n;
create table bronze.shop__orders__items as
select 'o' || n || ':' || item as _id, 'o' || n as _root_id, item::bigint as _position,
    'p' || (n + item) % 1000 + 1 as product_id,
    1::bigint as quantity, case when n % 2 = 0 then 12.50 when item = 0 then 5.00 else 10.00 end as unit_price,
    0.00 as discount, case when n % 2 = 0 then 12.50 when item = 0 then 5.00 else 10.00 end as total
from generate_series(1, {orders}) as n, generate_series(0, 1 + n % 2) as item;
create table bronze.shop__orders__payments as
select 'o' || n || ':0' as _id, 'o' || n as _root_id, 0::bigint as _position, 'card' as method, 'captured' as status,
    25.00 as amount, timestamptz '2026-01-01' as paid_at
from generate_series(1, {orders}) as n;
create unique index on bronze.shop__orders (_id);
create index on bronze.shop__orders__items (_root_id);
create index on bronze.shop__orders__payments (_root_id);
analyze
"""
_CHANGE = "update bronze.shop__orders set status = 'shipped', _loaded_at = now() where right(_id, 2) = '50'"


def measure(url: str, items: int) -> dict[str, Any]:
    """Build the facts of `items` order items, change 1 percent of the orders, build again; print both.

    Args:
        url: A Postgres whose schemas bronze, silver and gold may be replaced.
        items: Order items.
    """
    orders = int(items / _ITEMS)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(_FILL.format(orders=orders).encode())
    with tempfile.TemporaryDirectory() as home:
        settings = Settings(url=SecretStr(url), home=Path(home))
        _seconds(settings, select=[f"+{fact}" for fact in FACTS], exclude=[*_TESTS, *FACTS])
        full = _seconds(settings, select=FACTS, exclude=_TESTS)
        with psycopg.connect(url, autocommit=True) as connection:
            changed = connection.execute(_CHANGE.encode()).rowcount
            # What autovacuum has done by the next day; else the increment writes what the build has left in memory.
            for relation in ("bronze.shop__orders", *(f"gold.{fact}" for fact in FACTS)):
                connection.execute(f"vacuum analyze {relation}".encode())
        again = _seconds(settings, select=FACTS, exclude=_TESTS)
    print(f"{'gold':12} {'items':>11} {'changed':>8} {'full s':>8} {'increment s':>12} {'of full':>8}")
    print(f"{'':12} {items:11,} {changed / orders:8.1%} {full:8.1f} {again:12.1f} {again / full:8.2f}", flush=True)
    return {"items": items, "changed_orders": changed, "full_seconds": full, "increment_seconds": again}


def _seconds(settings: Settings, **wanted: Any) -> float:
    """Return the seconds of a build and of showing it, without dbt's own start."""
    with dbt.start(settings) as process:
        process.parsed()
        result = dbt.run(settings, process=process, **wanted)
    result.check()
    return result.seconds
