"""The dbt project on a real Postgres: the star equals its source, drifts with it, and builds on whatever is there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from bson import Decimal128, Int64
from pydantic import SecretStr
from pymongo import MongoClient

from infra.sample import COLLECTIONS, Change, Shop, Size, ad_spend, drift, seed_mongodb, write_ad_spend, write_rates
from tasks import dbt
from tasks.errors import DbtError, WarehouseUnreachable
from tasks.landing import Landing
from tasks.settings import Settings
from tests.fixtures.bronze import Warehouse
from tests.integration.dbt import by_hand

pytestmark = pytest.mark.slow

SIZE = Size(customers=250, days=45, seed=11, end_date=datetime(2026, 3, 14, 15, tzinfo=UTC))
Documents = dict[str, list[dict[str, Any]]]


def settings_of(url: str, home: Path) -> Settings:
    return Settings(url=SecretStr(url), home=home)


@pytest.fixture
def settings(postgres_url: str, tmp_path: Path) -> Settings:
    return settings_of(postgres_url, tmp_path)


def number(value: Any) -> Decimal:
    return value.to_decimal() if isinstance(value, Decimal128) else Decimal(value)


def one(connection: psycopg.Connection[Any], query: str) -> Any:
    row = connection.execute(query).fetchone()
    assert row is not None
    return row[0] if len(row) == 1 else row


class Story:
    """The sample before and after its drift, modelled twice in one database."""

    def __init__(self, url: str, home: Path, uri: str, database: str) -> None:
        self.url, self.settings = url, settings_of(url, home)
        self._uri, self._database = uri, database
        self.shop: Shop = SIZE.shop()
        self.changes: dict[tuple[str, str, str], Change] = {}
        seed_mongodb(uri, database, SIZE)
        self.before = self._load()
        write_ad_spend(home / "ads", ad_spend(self.shop))
        with psycopg.connect(url) as connection:
            by_hand.load_ads(connection, home / "ads")
            by_hand.load_rates(connection, write_rates(home / "rates", self.shop))
        self.first = dbt.run(self.settings)
        with psycopg.connect(url) as connection:
            self.phones_before = one(
                connection, "select count(phone) from gold.dim_customer where kind = 'registered' and is_current"
            )

    def change(self) -> None:
        made = drift(self._uri, self._database, now=datetime(2026, 3, 15, tzinfo=UTC))
        self.changes = {(change.kind, change.collection, change.field): change for change in made}
        self.after = self._load()
        shop = ("customers", "products", "orders", "orders__items", "orders__payments", "events")
        self.second = dbt.run(self.settings, select=[f"source:shop.{table}+" for table in shop])

    def _load(self) -> Documents:
        with MongoClient[dict[str, Any]](self._uri, tz_aware=True) as client:
            found = {name: list(client[self._database][name].find()) for name in COLLECTIONS}
        with psycopg.connect(self.url) as connection:
            by_hand.load_shop(connection, found)
        return found


@pytest.fixture(scope="module")
def story(module_postgres_url: str, mongodb_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    database = f"star_{os.getpid()}"
    yield Story(module_postgres_url, tmp_path_factory.mktemp("story"), mongodb_uri, database)
    with MongoClient[dict[str, Any]](mongodb_uri) as client:
        client.drop_database(database)


@pytest.fixture(scope="module")
def drifted(story: Story) -> Story:
    story.change()
    return story


def star_equals(connection: psycopg.Connection[Any], documents: Documents) -> None:
    orders = documents["orders"]
    items = [item for order in orders for item in order["items"]]
    total = sum(number(order["total"]) for order in orders)
    refunded = sum(number(refund["amount"]) for order in orders for refund in order["refunds"])
    fact = one(connection, "select count(*), sum(total), sum(refunded) from gold.fct_order")
    assert fact == (len(orders), total, refunded)
    paid = one(connection, "select sum(amount) from gold.fct_payment")
    assert paid == total - refunded
    sales = [order for order in orders if order["status"] != "cancelled" and not order.get("test")]
    euros = [order for order in sales if order["currency"] == "EUR"]
    in_euros = sum(number(order["total"]) - number(order["tax"]) for order in euros)
    assert one(connection, "select sum(revenue) from gold.fct_order where currency = 'EUR'") == in_euros
    assert len(euros) < len(sales)
    revenue = one(connection, "select sum(revenue) from gold.fct_order")
    assert revenue > in_euros
    lines = one(connection, "select count(*), sum(amount), sum(quantity) from gold.fct_order_item")
    assert lines == (len(items), sum(number(item["total"]) for item in items), sum(item["quantity"] for item in items))
    current = "select count(*) from gold.dim_{} where is_current and {}"
    customers, products = len(documents["customers"]), len(documents["products"])
    assert one(connection, current.format("customer", "kind = 'registered'")) == customers
    assert one(connection, current.format("product", "not is_inferred and not is_deleted")) == products
    bots = {event["session_id"] for event in documents["events"] if "user_agent" in event["device"]}
    sessions = len({event["session_id"] for event in documents["events"]} - bots)
    report = "select sum(sessions), sum(orders), sum(revenue) from gold.rpt_channel_performance_daily"
    assert one(connection, report) == (sessions, len(sales), revenue)
    assert one(connection, "select count(*) from gold.rpt_quarantine") == 0


def test_the_star_equals_the_documents_to_the_cent(story: Story) -> None:
    assert story.first.success
    with psycopg.connect(story.url) as connection:
        star_equals(connection, story.before)


def test_the_last_touch_is_the_visit_in_which_the_order_was_placed(story: Story) -> None:
    """As the generator made it, without the events: each order's own visit says where it came from."""
    touches = {
        str(story.shop.order_id(visit)): visit.touch for visit in story.shop.all_visits() if visit.order is not None
    }
    with psycopg.connect(story.url) as connection:
        found = connection.execute(
            "select order_id, source, medium, campaign from gold.fct_attribution "
            "join gold.dim_channel using (channel_id, source) "
            "where attribution_model = 'last_touch'"
        ).fetchall()
        counted = one(connection, "select count(*) from gold.fct_order where is_counted")
    assert len(found) == counted > 0
    for order, source, medium, campaign in found:
        touch = touches[order]
        # A click id says which platform, and not which campaign.
        assert (source, medium) == (touch.source or "(direct)", touch.medium or "(none)")
        assert campaign == touch.campaign or (campaign is None and touch.click_id)


def test_spend_is_that_of_the_platforms(story: Story) -> None:
    rows = list(ad_spend(story.shop))
    with psycopg.connect(story.url) as connection:
        found = connection.execute(
            "select platform, count(*), sum(clicks), sum(original_spend) from gold.fct_ad_spend_daily group by 1"
        ).fetchall()
        groups = connection.execute(
            "select distinct channel_group from gold.fct_ad_spend_daily join gold.dim_channel using (channel_id)"
        ).fetchall()
    places = {"google_ads": "0.000001", "linkedin_ads": "0.000001", "meta_ads": "0.01", "tiktok_ads": "0.01"}
    for platform, count, clicks, spend in found:
        expected = [row for row in rows if row.campaign.platform == platform]
        assert (count, clicks) == (len(expected), sum(row.clicks for row in expected))
        assert spend == sum(row.spend.quantize(Decimal(places[platform])) for row in expected)
    assert len(found) == 4
    assert {group for (group,) in groups} == {"Paid Search", "Paid Shopping", "Paid Social"}


def test_rfm_covers_every_sale_and_scores_equal_customers_equally(story: Story) -> None:
    with psycopg.connect(story.url) as connection:
        buyers = one(connection, "select count(distinct customer_id) from gold.fct_order where is_counted")
        money = one(connection, "select sum(net_revenue) from gold.fct_order")
        found = one(connection, "select count(*), sum(net_revenue) from gold.rpt_rfm")
        unequal = connection.execute(
            "select frequency from gold.rpt_rfm group by 1 having count(distinct frequency_score) > 1"
        ).fetchall()
    assert found == (buyers, money)
    assert unequal == []


def test_descriptions_reach_the_database(story: Story) -> None:
    query = "select obj_description('gold.fct_order'::regclass)"
    with psycopg.connect(story.url) as connection:
        assert one(connection, query) == (
            "One row per order that the shop still has and that breaks no rule; the others are in rpt_quarantine."
        )


def test_nodes_tell_what_they_built(story: Story) -> None:
    nodes = {node.name: node for node in story.first.nodes}
    assert nodes["fct_order"].relation == "gold.fct_order"
    assert nodes["fct_order"].rows_affected == len(story.before["orders"])
    assert nodes["stg_shop__orders"].relation == "silver.stg_shop__orders"


def test_the_star_equals_the_drifted_documents(drifted: Story) -> None:
    assert drifted.second.success
    with psycopg.connect(drifted.url) as connection:
        star_equals(connection, drifted.after)


def test_drift_did_what_it_says(drifted: Story) -> None:
    before = {document["_id"]: document for document in drifted.before["orders"]}
    after = {document["_id"]: document for document in drifted.after["orders"]}
    gone = drifted.changes["deleted", "orders", ""].ids
    assert set(gone) == before.keys() - after.keys()
    retyped = drifted.changes["changed type", "orders", "total"].ids
    assert {key for key, order in after.items() if isinstance(order["total"], str)} == set(retyped)
    assert all(number(after[key]["total"]) == number(before[key]["total"]) for key in retyped)
    phones = drifted.changes["renamed field", "customers", "phone"].ids
    customers = {document["_id"]: document for document in drifted.after["customers"]}
    assert all("phone_number" in customers[key] and "phone" not in customers[key] for key in phones if key in customers)
    assert all(change.ids for change in drifted.changes.values())


def test_a_renamed_field_is_one_column_above(drifted: Story) -> None:
    with psycopg.connect(drifted.url) as connection:
        phones = one(connection, "select count(phone) from gold.dim_customer where kind = 'registered' and is_current")
        tiers = one(
            connection, "select count(loyalty_tier) from gold.dim_customer where kind = 'registered' and is_current"
        )
    still = {document["_id"] for document in drifted.after["customers"]}
    assert phones == len(still & set(drifted.changes["renamed field", "customers", "phone"].ids))
    assert drifted.phones_before - 2 <= phones <= drifted.phones_before
    assert tiers == len(still & set(drifted.changes["new field", "customers", "loyalty_tier"].ids))


def test_values_of_a_changed_type_stay_readable(drifted: Story) -> None:
    ids = [str(key) for key in drifted.changes["changed type", "customers", "address.zip"].ids]
    with psycopg.connect(drifted.url) as connection:
        found = dict(
            connection.execute(
                "select customer_id, postal_code from gold.dim_customer where is_current and customer_id = any(%s)",
                [ids],
            ).fetchall()
        )
    expected = {str(d["_id"]): d["address"]["zip"] for d in drifted.after["customers"] if str(d["_id"]) in ids}
    assert found == expected
    assert all(isinstance(code, str) for code in expected.values())


def test_deleted_customers_keep_their_orders_and_are_told_apart(drifted: Story) -> None:
    gone = {str(key) for key in drifted.changes["deleted", "customers", ""].ids}
    with psycopg.connect(drifted.url) as connection:
        kinds = dict(
            connection.execute(
                "select customer_id, kind from gold.dim_customer where is_current and customer_id = any(%s)",
                [list(gone)],
            ).fetchall()
        )
        orders = one(connection, "select count(*) from gold.fct_order where customer_id = 'unknown'")
    assert kinds == dict.fromkeys(gone, "deleted")
    assert orders == 0


def test_only_what_the_tables_feed_is_rebuilt(story: Story) -> None:
    result = dbt.run(story.settings, select=["source:ads.tiktok_ads+"])
    built = {node.name for node in result.nodes if node.resource_type == "model"}
    assert "stg_ads__tiktok_ads" in built and "fct_ad_spend_daily" in built
    assert not {"stg_shop__orders", "fct_order", "dim_customer", "stg_ads__meta_ads"} & built


def test_an_empty_warehouse_builds_empty_models(settings: Settings) -> None:
    result = dbt.run(settings)
    assert result.success, [node for node in result.nodes if node.failed]
    with psycopg.connect(settings.database_url()) as connection:
        assert one(connection, "select count(*) from gold.fct_order") == 0
        assert one(connection, "select count(*) from gold.dim_customer") == 1


def test_the_first_table_alone_builds_what_it_needs(settings: Settings) -> None:
    with psycopg.connect(settings.database_url()) as connection:
        orders = Size(customers=30, days=10, end_date=SIZE.end_date).shop().documents("orders")
        by_hand.load_documents(connection, "shop", "orders", orders, ("items", "payments"))
        connection.commit()
    result = dbt.run(settings, select=["source:shop.orders+"])
    assert result.success, [node for node in result.nodes if node.failed]
    # Also what no table feeds, and what other tables feed, as models above orders read it; but nothing else.
    built = {node.name for node in result.nodes if node.relation and node.published}
    assert {"dim_date", "stg_ads__tiktok_ads"} <= built
    assert not {"dim_campaign", "fct_funnel_daily", "int_shop__campaign_tags"} & built
    with psycopg.connect(settings.database_url()) as connection:
        assert one(
            connection,
            "select count(*) > 0 and every(kind = 'inferred') "
            "from gold.fct_order join gold.dim_customer using (customer_id)",
        )


def test_values_in_a_column_beside_the_first_reach_silver(settings: Settings, tmp_path: Path) -> None:
    bronze = Warehouse(settings.database_url(), Landing.open(str(tmp_path / "landing")), "shop", "products")
    bronze.load([{"_id": 1, "sku": "a", "price": 5}, {"_id": 2, "sku": "b", "price": 9}])
    bronze.execute("create materialized view fixed as select price from bronze.shop__products")
    bronze.load([{"_id": 3, "sku": "c", "price": 0.1}, {"_id": 4, "sku": "d", "price": Decimal128("1.20")}])
    dbt.run(settings, select=["stg_shop__products"]).check()
    bronze.load([{"_id": 1, "sku": "a", "price": 2.5}, {"_id": 4, "sku": "d", "price": 7}])
    with psycopg.connect(settings.database_url()) as connection:
        found = connection.execute("select product_id, price from silver.stg_shop__products order by 1").fetchall()
    assert found == [("1", Decimal("2.5")), ("2", Decimal(9)), ("3", Decimal("0.1")), ("4", Decimal(7))]


def test_a_whole_number_beside_doubles_that_cannot_tell_it_reaches_silver(settings: Settings, tmp_path: Path) -> None:
    bronze = Warehouse(settings.database_url(), Landing.open(str(tmp_path / "landing")), "shop", "products")
    bronze.load([{"_id": 1, "sku": "a", "price": 0.5}])
    bronze.execute("create materialized view fixed as select price from bronze.shop__products")
    bronze.load([{"_id": 2, "sku": "b", "price": Int64(2**53 + 1)}])
    assert bronze.column_type("price__decimal", "shop__products") == "numeric"
    dbt.run(settings, select=["stg_shop__products"]).check()
    with psycopg.connect(settings.database_url()) as connection:
        found = connection.execute("select product_id, price from silver.stg_shop__products order by 1").fetchall()
    assert found == [("1", Decimal("0.5")), ("2", Decimal(2**53 + 1))]


def test_a_failing_test_is_a_failed_node_with_its_count(settings: Settings) -> None:
    products = [*Size(customers=10, days=5, end_date=SIZE.end_date).shop().documents("products")]
    for product in products[:3]:
        product["sku"] = products[0]["sku"]
    with psycopg.connect(settings.database_url()) as connection:
        by_hand.load_documents(connection, "shop", "products", products)
        connection.commit()
    result = dbt.run(settings, select=["stg_shop__products"])
    assert not result.success
    failed = {node.name: node.failures for node in result.failed}
    assert failed == {"unique_stg_shop__products_sku": 1}
    assert result.failed[0].failing == (f"unique_field={products[0]['sku']}",)
    assert (result.failed[0].error_class, result.held_back) == ("data_quality", ("silver.stg_shop__products",))
    with pytest.raises(DbtError, match="unique_stg_shop__products_sku"):
        result.check()


def test_an_unknown_selector_word_is_an_error_of_dbt(settings: Settings) -> None:
    with pytest.raises(DbtError, match="ended with code 2"):
        dbt.run(settings, select=["nosuchmethod:x"])


def test_a_server_that_is_not_there_is_named_without_the_password(tmp_path: Path) -> None:
    url = "postgresql://ana:verysecret@127.0.0.1:9/dw"
    with pytest.raises(WarehouseUnreachable) as caught:
        dbt.run(settings_of(url, tmp_path))
    assert "verysecret" not in str(caught.value)


def test_no_secret_is_in_files_of_the_run(settings: Settings) -> None:
    password = settings.database_url().split(":")[2].split("@")[0]
    with dbt.start(settings) as process:
        assert process.command(["compile", "--select", "dim_date"]) == 0
    assert len(password) > 8
    for path in process.target.rglob("*"):
        assert not path.is_file() or password.encode() not in path.read_bytes(), path


def test_sigterm_ends_dbt_and_its_queries(settings: Settings, tmp_path: Path) -> None:
    url = settings.database_url()
    program = "from tasks import dbt; from tasks.settings import get_settings; dbt.run(get_settings())"
    env = {**os.environ, "WAREHOUSE_URL": url, "WAREHOUSE_HOME": str(tmp_path)}
    waiting = (
        "select count(*) from pg_stat_activity where application_name = 'warehouse-dbt' and wait_event_type = 'Lock'"
    )
    sessions = "select count(*) from pg_stat_activity where application_name = 'warehouse-dbt'"
    with psycopg.connect(url) as connection, psycopg.connect(url, autocommit=True) as watcher:
        connection.execute("create schema bronze")
        connection.execute("create table bronze.shop__products (_id text)")
        connection.commit()
        connection.execute("lock table bronze.shop__products in access exclusive mode")
        process = subprocess.Popen([sys.executable, "-c", program], env=env, cwd=dbt.SHIPPED.parent)
        _until(lambda: one(watcher, waiting) > 0, 120)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 128 + signal.SIGTERM
        _until(lambda: one(watcher, sessions) == 0, 10)


def _until(condition: Any, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)
