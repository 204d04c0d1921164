"""`warehouse drift write-dbt`: after drift, the company's staging model reads old and new documents under one name."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from bson.decimal128 import Decimal128

from flows import cli
from tasks import dbt
from tasks.dbt.company import write_project
from tasks.mongodb.config import MongoTable
from tasks.settings import Settings, get_settings
from tests.command import run
from tests.fixtures.bronze import Warehouse

BEFORE = [{"_id": n, "phone": f"0{n}", "total": n, "price": -0.0 if n == 1 else n / 2} for n in range(1, 7)]
# Renamed, wider in place, wider beside (no decimal is -0.0), new, and new under names that no column can have.
AFTER: list[dict[str, Any]] = [
    {
        "_id": n,
        "tel": f"0{n}",
        "total": Decimal128(f"{n}.05"),
        "price": Decimal128(f"{n}.10"),
        "city": "Graz",
        "it's": "odd",
        "{{ x }}": 1,
        "City": "Wien",
    }
    for n in range(3, 8)
]


@pytest.fixture
def warehouse(another: Callable[..., Warehouse]) -> Warehouse:
    """The table app.orders, which no package models."""
    return another("app", "orders")


@pytest.fixture
def project(warehouse: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An own dbt project, the one in use."""
    folder = tmp_path / "own"
    write_project(folder, packages=("core",))
    for name, value in {"URL": warehouse.url, "HOME": str(tmp_path / "home"), "DBT": str(folder)}.items():
        monkeypatch.setenv(f"WAREHOUSE_{name}", value)
    get_settings.cache_clear()
    yield folder
    get_settings.cache_clear()


class Terminal(io.StringIO):
    """What somebody types."""

    def isatty(self) -> bool:
        return True


def test_after_drift_silver_shows_old_and_new_values_under_one_name(
    warehouse: Warehouse, project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    warehouse.load(BEFORE)
    assert run("model", "new", "app.orders") == cli.DONE
    model = project / "models/silver/app/stg_app__orders.sql"
    # What a person adds outside of the block.
    written = model.read_text().replace("from {{ bronze", ", 'mine' as mine\nfrom {{ bronze")
    model.write_text(written)
    dbt.run(Settings(), ["stg_app__orders"]).check()
    assert run("drift", "write-dbt", "app.orders") == cli.DONE
    assert "no change" in capsys.readouterr().out

    warehouse.load(AFTER)
    assert warehouse.column_type("price__decimal", "app__orders") == "numeric"
    assert run("drift", "write-dbt", "app.orders") == cli.WRONG_USE
    shown = capsys.readouterr()
    assert "+    {{ warehouse.bronze_value(bronze, ['tel', 'phone'], 'text') }} as tel" in shown.out
    assert "-    {{ warehouse.bronze_value(bronze, 'total', 'bigint') }} as total" in shown.out
    assert "--yes" in shown.err
    described = model.with_suffix(".yml")
    theirs = described.read_text().replace("Field phone of the source.", "What they dial.  # theirs")
    described.write_text(theirs)
    monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
    assert run("drift", "write-dbt", "app.orders") == cli.DONE
    assert "nothing was written" in capsys.readouterr().out
    assert (model.read_text(), described.read_text()) == (written, theirs)
    monkeypatch.setattr(sys, "stdin", Terminal("y\n"))
    assert run("drift", "write-dbt", "app.orders") == cli.DONE
    now = model.read_text()
    assert now.endswith(", 'mine' as mine\nfrom {{ bronze.rows }}\n")
    assert run("drift", "write-dbt", "app.orders", "--yes") == cli.DONE
    assert "no change" in capsys.readouterr().out
    assert model.read_text() == now
    told = described.read_text()
    assert told.startswith(theirs)
    day = warehouse.value("select max(seen_at)::date::text from ops.schema_changes")
    assert {line.partition("description: ")[2] for line in told.removeprefix(theirs).splitlines()[1::2]} == {
        f'"Field tel of the source, phone before, first seen on {day}."',
        *(f'"Field {name} of the source, first seen on {day}."' for name in ("city", "City", "it's", "(( x ))")),
    }

    dbt.run(Settings(), ["stg_app__orders"]).check()
    query = "select order_id, tel, phone, total, price, city, city_2, it_s, mine from silver.stg_app__orders order by 1"
    old = [(str(n), f"0{n}", f"0{n}", n, n - 1, None, None, None, "mine") for n in (1, 2)]
    new = [
        (str(n), f"0{n}", f"0{n}", Decimal(f"{n}.05"), Decimal(f"{n}.10"), "Graz", "Wien", "odd", "mine")
        for n in range(3, 8)
    ]
    assert warehouse.rows(query) == old + new


def test_a_model_without_a_block_is_left_alone_and_the_block_shown(
    warehouse: Warehouse, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    warehouse.load(BEFORE)
    model = project / "models/silver/stg_app__orders.sql"
    model.write_text("select _id as order_id from {{ source('app', 'orders') }}")
    assert run("drift", "write-dbt", "app.orders", "--yes") == cli.DONE
    shown = capsys.readouterr().out
    assert "{{ warehouse.bronze_value(bronze, 'total', 'bigint') }} as total" in shown
    assert "nothing was written" in shown
    assert model.read_text() == "select _id as order_id from {{ source('app', 'orders') }}"
    model.unlink()
    assert run("drift", "write-dbt", "app.orders", "--yes") == cli.WRONG_USE
    assert "`warehouse model new app.orders`" in capsys.readouterr().err


def test_the_model_of_a_child_table_and_that_of_a_history_follow_drift(
    warehouse: Warehouse, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    warehouse.table = MongoTable(arrays={"items": "table"}, history=True)
    warehouse.load([{"_id": n, "note": "x", "items": [{"sku": f"a{n}", "qty": 1}]} for n in range(5)])
    assert run("model", "new", "app.orders__items") == cli.DONE
    assert run("model", "new", "app.orders__history") == cli.DONE
    warehouse.load(
        [{"_id": n, "note": "x", "gift": True, "items": [{"sku": "b", "qty": 0.5, "tax": 1}]} for n in (1, 2)]
    )
    for table in ("orders__items", "orders__history"):
        assert run("drift", "write-dbt", f"app.{table}", "--yes") == cli.DONE
    items, history = (
        (project / f"models/silver/app/stg_app__{table}.sql").read_text()
        for table in ("orders__items", "orders__history")
    )
    assert "bronze_value(bronze, 'qty', 'double precision') }} as qty,\n" in items
    assert "bronze_value(bronze, 'tax', 'bigint') }} as tax\n" in items
    assert "gift" not in items and "sku" not in history
    assert "bronze_value(bronze, 'gift', 'boolean') }} as gift\n" in history
