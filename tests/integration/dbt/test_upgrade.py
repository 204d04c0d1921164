"""`warehouse upgrade --check`: the new version is built aside, compared with what readers see, and shown to nobody."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tasks import dbt
from tasks.dbt import compare
from tasks.dbt.compare import Difference
from tests.integration.dbt.conftest import Shop
from tests.integration.dbt.test_blue_green import REPORT

pytestmark = pytest.mark.slow


def command(shop: Shop) -> subprocess.CompletedProcess[str]:
    env = {
        **os.environ,
        "WAREHOUSE_URL": shop.url,
        "WAREHOUSE_HOME": str(shop.settings.home),
        "WAREHOUSE_DBT": str(shop.folder),
        "COLUMNS": "200",
    }
    program = [sys.executable, "-c", "import warehouse_command as w; w.main()", "upgrade", "--check"]
    return subprocess.run(program, env=env, cwd=dbt.SHIPPED.parent, capture_output=True, text=True)


def test_what_a_new_version_changes_is_told_by_row_and_column_and_shown_to_nobody(shop: Shop) -> None:
    shop.build().check()
    assert compare.check(shop.settings) == compare.Findings((), ())
    shop.write(
        "models/gold/fct_spend.sql", "select day, spend + 1 as spend, 'EUR' as currency from {{ ref('stg_spend') }}"
    )
    shop.write(
        "models/gold/fct_order.sql",
        "select order_id, total::text as total from {{ ref('stg_orders') }} where total > 1",
    )
    shop.write(
        "models/gold/rpt_day.sql",
        "select sum(spend) as spend, (select count(*) from {{ ref('fct_order') }}) as orders"
        " from {{ ref('fct_spend') }}",
    )
    found = compare.check(shop.settings)
    assert found.failures == ()
    assert {one.relation: one for one in found.differences} == {
        "gold.fct_spend": Difference("gold.fct_spend", ("+currency",), 1, 1, 1, 1),
        "gold.fct_order": Difference(
            "gold.fct_order", ("-twice", "-_loaded_at", "-built_at", "total bigint to text"), 2, 1, 1, 0
        ),
        "gold.rpt_day": Difference("gold.rpt_day", ("-total",), 1, 1, 1, 1),
    }
    assert (shop.one(REPORT), shop.leftovers()) == ((2, 3, 7), 0)
    told = command(shop)
    assert told.returncode == 0, told.stderr
    assert all(name in told.stdout for name in ("gold.fct_spend", "+currency", "gold.fct_order", "gold.rpt_day"))
    # What was looked at is still to be built.
    assert shop.built(shop.build()) == {"fct_spend", "fct_order", "rpt_day"}


def test_what_fails_in_the_new_version_is_told_and_the_rest_compared(shop: Shop) -> None:
    shop.build().check()
    shop.write("models/gold/fct_order.sql", "select order_id, nothing as total from {{ ref('stg_orders') }}")
    shop.write("models/gold/fct_spend.sql", "select day, 2 * spend as spend from {{ ref('stg_spend') }}")
    told = command(shop)
    assert told.returncode == 1, told.stderr
    assert "fct_order" in told.stdout and "nothing" in told.stdout and "gold.fct_spend" in told.stdout
    assert (shop.one(REPORT), shop.leftovers()) == ((2, 3, 7), 0)
