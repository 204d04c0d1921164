"""Real purchases from MongoDB to gold: counts, units and money of the file, and the published summaries."""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr
from pymongo import MongoClient

from infra.sample import cdnow
from tasks import dbt
from tasks.bronze.pending import load_pending
from tasks.extract import ExtractContext, extract_table
from tasks.landing import Landing
from tasks.settings import Settings
from tasks.sources import load_sources

pytestmark = pytest.mark.slow

DATASETS = cdnow.master_file().parent


@pytest.fixture(scope="module")
def settings(
    module_postgres_url: str, mongodb_uri: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Settings]:
    """The whole job on real input: MongoDB, landing, bronze, silver, gold."""
    home = tmp_path_factory.mktemp("cdnow")
    database = f"cdnow_{os.getpid()}"
    cdnow.seed_mongodb(mongodb_uri, database)
    table = {"arrays": {"purchases": "table"}}
    source = {"kind": "mongodb", "uri": mongodb_uri, "database": database, "tables": {"customers": table}}
    (home / "sources.yaml").write_text(json.dumps({"sources": {"cdnow": source}}))
    ref = load_sources(home / "sources.yaml").table("cdnow.customers")
    settings = Settings(url=SecretStr(module_postgres_url), home=home)
    extract_table(ref, ExtractContext(Landing.open(settings.landing_root())))
    load_pending(ref, settings)
    dbt.run(settings, select=dbt.selection([ref]), variables={"cdnow": True}).check()
    yield settings
    with MongoClient[dict[str, Any]](mongodb_uri) as client:
        client.drop_database(database)


def summary(settings: Settings) -> Iterator[tuple[Any, ...]]:
    with psycopg.connect(settings.database_url()) as connection:
        yield from connection.execute(
            "select customer_id::int, frequency, recency, t, monetary_value "
            "from gold.rpt_cdnow_customer_summary order by 1"
        )


BRONZE = (
    "(select _root_id as customer_id, (date at time zone 'UTC')::date as purchased_on, units, amount "
    "from bronze.cdnow__customers__purchases) as purchases"
)


@pytest.mark.parametrize("relation", [BRONZE, "silver.stg_cdnow__customers__purchases", "gold.fct_cdnow_purchase"])
def test_counts_units_and_money_are_those_of_the_file(settings: Settings, relation: str) -> None:
    lines = [line.split() for line in (DATASETS / "CDNOW_master.txt").read_text().splitlines()[1:]]
    with psycopg.connect(settings.database_url()) as connection:
        found = connection.execute(
            f"select count(*), count(distinct customer_id), sum(units), sum(amount), "
            f"count(*) filter (where amount = 0), min(purchased_on), max(purchased_on) from {relation}"
        ).fetchone()
        duplicates = connection.execute(
            f"select sum(n - 1) from (select count(*) as n from {relation} "
            "group by customer_id, purchased_on, units, amount) as groups"
        ).fetchone()
    units, money = sum(int(line[2]) for line in lines), sum(Decimal(line[3]) for line in lines)
    assert found == (69_659, 23_570, units, money, 80, date(1997, 1, 1), date(1998, 6, 30))
    assert duplicates == (255,)


def test_the_summary_is_that_of_lifetimes(settings: Settings) -> None:
    import pandas as pd
    from lifetimes.utils import summary_data_from_transaction_data

    purchases = pd.DataFrame(cdnow.purchases())
    purchases["day"] = purchases["day"].dt.tz_localize(None)
    purchases["amount"] = purchases["amount"].astype(float)
    expected = summary_data_from_transaction_data(
        purchases, "customer", "day", monetary_value_col="amount", observation_period_end="1998-06-30"
    )
    count = 0
    for (customer, row), found in zip(expected.iterrows(), summary(settings), strict=True):
        assert found[:4] == (customer, row["frequency"], row["recency"], row["T"])
        assert math.isclose(float(found[4]), row["monetary_value"], rel_tol=1e-12, abs_tol=1e-9)
        count += 1
    assert count == 23_570


def test_the_calibration_period_is_the_published_summary(settings: Settings) -> None:
    """The summary that comes with the data: weeks, to 1997-09-30, of the customers in CDNOW_sample.txt."""
    variables = {"cdnow": True, "cdnow_observation_end": "1997-09-30"}
    dbt.run(settings, select=["rpt_cdnow_customer_summary"], variables=variables).check()
    found = {row[0]: row[1:] for row in summary(settings)}
    sample = [line.split() for line in Path(DATASETS / "CDNOW_sample.txt").read_text().splitlines()]
    numbers = {int(line[1]): int(line[0]) for line in sample}
    published = list(csv.DictReader((DATASETS / "cdnow_customers_summary.csv").open()))
    assert len(published) == len(numbers) == 2_357
    for row in published:
        frequency, recency, t, _ = found[numbers[int(row["ID"])]]
        assert frequency == int(row["frequency"])
        assert abs(recency / 7 - float(row["recency"])) < 0.0051
        assert abs(t / 7 - float(row["T"])) < 0.0051
