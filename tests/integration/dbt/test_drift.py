"""Every kind of change at every layer: bronze, a staging model, and above it a mart with a contract, a copy and a view.

One table with a field for each kind, and three builds: of what was, of what came, and once the staging model was
brought up to it. Gold is green each time, and what it cannot show is null.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from bson import Decimal128, ObjectId

from flows import cli
from tasks import dbt
from tasks.dbt.company import write_project
from tasks.drift.kinds import KINDS
from tasks.mongodb.config import MongoTable
from tasks.settings import Settings, get_settings
from tests.fixtures.bronze import Warehouse

MART = """\
{{ config(contract={'enforced': true}) }}
select order_id, total::numeric as total, price::numeric as price, state::text as state
from {{ ref('stg_app__orders') }}
"""
COPY = """\
{{ config(materialized='incremental', unique_key='order_id', on_schema_change='sync_all_columns') }}
select * from {{ ref('stg_app__orders') }}
"""
ABOVE = "{{ config(materialized='view') }}\nselect count(*) as copied from {{ ref('fct_copy') }}\n"
DESCRIBED = """\
models:
  - name: fct_order
    description: One row per order.
    columns:
      - {name: order_id, data_type: text, data_tests: [not_null, unique]}
      - {name: total, data_type: numeric}
      - {name: price, data_type: numeric}
      - {name: state, data_type: text}
"""
# Ten of the old ones come again in their new shape: they show that a field was renamed.
OLD, NEW, FAULTY = range(200), range(190, 240), 240


def before(number: int) -> dict[str, Any]:
    return {
        "_id": number,
        "gone": "g",
        "back": "b",
        "phone": f"0{number}",
        "total": number,
        "price": -0.0 if number == 1 else number / 2,
        "size": number,
        "address": {"city": f"c{number}"},
        "origin": f"o{number}",
        "tag": f"t{number}",
        "items": [{"sku": f"s{number}"}],
        "maybe": f"m{number}",
        "note": f"n{number}",
        "state": ("open", "paid")[number % 2],
        "version": "v",
        "customer_id": number,
        "weight": 10.5 + number % 40,
    }


def after(number: int) -> dict[str, Any]:
    made = before(number) | {
        "tel": f"0{number}",
        "total": Decimal128(f"{number}.05"),
        "price": Decimal128(f"{number}.10"),
        "size": "large",
        "address": f"c{number}, 1",
        "origin": {"country": "AT"},
        "tag": [f"t{number}"],
        "items": {"sku": f"s{number}"},
        "note": None,
        "state": "lost" if number % 5 == 0 else "open",
        "version": "w",
        "customer_id": ObjectId(f"{number:024x}"),
        "weight": 100 * (10.5 + number % 40),
        "fresh": "f",
    }
    for name in ("gone", "phone", *(["maybe"] if number % 2 else [])):
        del made[name]
    return made


@pytest.fixture
def warehouse(another: Callable[..., Warehouse]) -> Warehouse:
    made = another("app", "orders")
    made.table = MongoTable.model_validate({"arrays": {"items": "table"}})
    return made


@pytest.fixture
def project(warehouse: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An own dbt project, the one in use, with models above a staging model."""
    folder = tmp_path / "own"
    write_project(folder, packages=("core",))
    for name, text in {
        "fct_order.sql": MART,
        "fct_order.yml": DESCRIBED,
        "fct_copy.sql": COPY,
        "rpt.sql": ABOVE,
    }.items():
        (folder / "models/gold" / name).write_text(text)
    for name, value in {"URL": warehouse.url, "HOME": str(tmp_path / "home"), "DBT": str(folder)}.items():
        monkeypatch.setenv(f"WAREHOUSE_{name}", value)
    get_settings.cache_clear()
    yield folder
    get_settings.cache_clear()


# A staging model that is as it was written shows of a new document what its columns can hold.
AS_IT_WAS = {
    **{"back": "b", "price": 201.1, "tag": '["t201"]', "state": "open", "version": "w", "weight": 1150},
    **dict.fromkeys(("gone", "phone", "total", "size", "address_city", "origin", "maybe", "note", "customer_id")),
}
# Brought up to what came, it shows the rest, but what no column holds: `size` and `customer_id` stay in `_rescued`.
BROUGHT_UP = AS_IT_WAS | {
    **{"tel": "0201", "phone": "0201", "total": 201.05, "address": "c201, 1", "origin_country": "AT", "fresh": "f"},
}
# Of an old document both names of the renamed field.
OF_OLD = {
    **{"gone": "g", "back": "b", "phone": "0150", "total": 150, "price": 75.0, "size": 150, "address_city": "c150"},
    **{"origin": "o150", "tag": "t150", "maybe": "m150", "note": "n150", "state": "open", "version": "v"},
    **{"customer_id": 150, "weight": 40.5},
}
MODELS = ["+fct_order", "+fct_copy", "+rpt", "stg_app__orders__items"]
# Of what a table is read from: tests/integration/mongodb/test_origin.py.
OF_SOURCES = {"dropped", "source_renamed", "refilled", "index_lost"}


def shown(warehouse: Warehouse, number: int, relation: str = "silver.stg_app__orders") -> dict[str, Any]:
    """Return what a model shows of a document."""
    row = warehouse.value(f"select to_jsonb(t) from {relation} t where order_id = '{number}'")
    return {name: row[name] for name in {**OF_OLD, **BROUGHT_UP} if name in row}


def gold_is_whole(warehouse: Warehouse, documents: int) -> None:
    counts = "select (select count(*) from gold.fct_order), (select count(*) from gold.fct_copy), copied from gold.rpt"
    assert warehouse.rows(counts) == [(documents, documents, documents)]
    assert shown(warehouse, NEW[-1], "gold.fct_copy") == shown(warehouse, NEW[-1])


def test_each_kind_of_change_reaches_each_layer_and_gold_stays_green(warehouse: Warehouse, project: Path) -> None:
    warehouse.load([before(number) for number in OLD])
    for name in ("orders", "orders__items"):
        assert cli.invoke(["model", "new", f"app.{name}"]) == cli.DONE
    dbt.run(Settings(), MODELS).check()
    assert shown(warehouse, 150) == OF_OLD

    warehouse.load([{name: value for name, value in before(number).items() if name != "back"} for number in OLD[:20]])
    warehouse.load([after(number) for number in NEW] + [after(FAULTY) | {"total": math.nan, "weight": math.inf}])
    warehouse.load([after(number) | {"note": "again"} for number in NEW[:5]])
    assert {change for _, change in warehouse.changes()} == set(KINDS) - OF_SOURCES
    rescued = "select jsonb_object_keys(_rescued) from bronze.app__orders where _id = '201'"
    assert {path for (path,) in warehouse.rows(rescued)} == {"size", "tag", "customer_id"}
    dbt.run(Settings(), MODELS).check()
    assert (shown(warehouse, 201), shown(warehouse, 150)) == (AS_IT_WAS, OF_OLD)
    gold_is_whole(warehouse, len(OLD) + len(NEW) - 10 + 1)

    for name in ("orders", "orders__items"):
        assert cli.invoke(["drift", "write-dbt", f"app.{name}", "--yes"]) == cli.DONE
    dbt.run(Settings(), MODELS).check()
    assert shown(warehouse, 201) == BROUGHT_UP
    new = {"tel": "0150", **dict.fromkeys(("address", "origin_country", "fresh"))}
    assert shown(warehouse, 150) == OF_OLD | new
    gold_is_whole(warehouse, len(OLD) + len(NEW) - 10 + 1)
    facts = "select total, price from gold.fct_order where order_id in ('150', '201', '240') order by order_id"
    # One document with numbers that no sum can have is shown without them, and holds nothing up.
    cents = Decimal("0.01")
    told = [tuple(one and one.quantize(cents) for one in row) for row in warehouse.rows(facts)]
    assert told == [
        (Decimal("150.00"), Decimal("75.00")),
        (Decimal("201.05"), Decimal("201.10")),
        (None, Decimal("240.10")),
    ]
    assert warehouse.value("select total::text from bronze.app__orders where _id = '240'") == "NaN"
    assert warehouse.value("select count(*) from silver.stg_app__orders__items where sku in ('s150', 's201')") == 2
