"""Models of the materialization incremental_by_key: only changed rows are written, and shown with everything else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks import dbt
from tasks.errors import DbtError
from tests.integration.dbt.conftest import Shop
from tests.integration.dbt.test_blue_green import REPORT, Reader

pytestmark = pytest.mark.slow

FILES = {
    "packages.yml": f"packages: [{{local: '{dbt.SHIPPED / 'packages' / 'core'}'}}]",
    "macros/changed.sql": """
{% macro changed_orders() %}
select coalesce(orders.order_id, made.order_id) as order_id
from {{ ref('stg_orders') }} as orders full join {{ this }} as made on made.order_id = orders.order_id
where orders._loaded_at is distinct from made._loaded_at
{% endmacro %}
""",
    "models/gold/fct_order.sql": """
{{ config(
    materialized='incremental_by_key',
    unique_key='order_id',
    indexes=[{'columns': ['order_id'], 'unique': true}, {'columns': ['total'], 'unique': true}],
    persist_docs={'relation': true, 'columns': true},
    pre_hook="{{ warehouse.find_changed(changed_orders()) }}",
) }}
select order_id, total, _loaded_at, clock_timestamp() as built_at
from {{ ref('stg_orders') }}
where {{ warehouse.is_changed('order_id') }}
""",
    "models/gold/twice.sql": """
{{ config(materialized='view', persist_docs={'relation': true}) }}
select order_id, 2 * total as twice from {{ ref('fct_order') }}
""",
    "models/gold/_twice.yml": "models: [{name: twice, description: Twice as much.}]",
}


@pytest.fixture
def by_key(shop: Shop) -> Shop:
    for name, text in FILES.items():
        shop.write(name, text)
    project: Path = shop.folder / "dbt_project.yml"
    project.write_text(project.read_text() + "  warehouse: {+enabled: false}\n")
    shop.build().check()
    return shop


def test_changed_rows_alone_are_written_and_the_table_stays(by_key: Shop) -> None:
    shop = by_key
    shop.connection.execute("create index of_people on gold.fct_order (total)")
    before = shop.one(
        "select 'gold.fct_order'::regclass::oid::int, (select ctid from gold.fct_order where order_id = 'a')"
    )
    models = (shop.folder / "models/gold/_models.yml").read_text()
    shop.write(
        "models/gold/_models.yml", models.replace("- name: fct_order", "- name: fct_order\n  description: An order.")
    )
    shop.orders(b=20, c=3)
    result = shop.build()
    result.check()
    assert {node.name: node.rows_affected for node in result.nodes if node.name == "fct_order"} == {"fct_order": 2}
    after = "select 'gold.fct_order'::regclass::oid::int, (select ctid from gold.fct_order where order_id = 'a')"
    assert shop.one(after) == before
    assert shop.one("select count(*) from pg_indexes where indexname = 'of_people'") == 1
    assert shop.one(REPORT) == (3, 24, 7)
    assert shop.one("select obj_description('gold.fct_order'::regclass)") == "An order."
    # The view was made over what is no longer there, and reads the table.
    assert shop.leftovers() == 0
    assert shop.one("select sum(twice)::int, obj_description('gold.twice'::regclass) from gold.twice") == (
        48,
        "Twice as much.",
    )
    shop.connection.execute("delete from bronze.shop__orders where _id = 'a'")
    shop.orders(c=4)
    shop.build().check()
    assert shop.one(REPORT) == (2, 24, 7)
    dbt.run(shop.settings, full_refresh=True).check()
    assert shop.one(REPORT) == (2, 24, 7)


def test_what_fails_leaves_the_last_good_rows(by_key: Shop) -> None:
    shop = by_key
    shop.orders(a=None, c=4)
    failed = shop.build()
    assert set(failed.held_back) == {"silver.stg_orders", "gold.fct_order", "gold.rpt_day", "gold.twice"}
    [test] = failed.failed
    assert test.failing == ("order_id=a",)
    assert shop.one(REPORT) == (2, 3, 7)
    assert shop.one("select array_agg(total::int order by order_id) from gold.fct_order") == [1, 2]
    # Tests of the model pass, but its table does not take the row beside that of b: nothing of the run is shown.
    shop.orders(a=2)
    shop.spend(tuesday=1)
    with pytest.raises(DbtError, match=r"new rows of gold\.fct_order do not fit"):
        shop.build()
    assert shop.one(REPORT) == (2, 3, 7)
    shop.orders(a=5)
    shop.build().check()
    assert shop.one(REPORT) == (3, 11, 8)
    assert shop.leftovers() == 0


def test_a_reader_sees_rows_and_reports_of_one_run(by_key: Shop) -> None:
    by_key.connection.execute("create schema bi; create view bi.sales as select orders, total from gold.rpt_day")
    reader = Reader(by_key.url)
    reader.start()
    try:
        for total in (3, 4):
            by_key.orders(c=total)
            by_key.build().check()
    finally:
        reader.done.set()
        reader.join()
    assert reader.errors == []
    assert reader.seen == {(2, 3, 3), (3, 6, 6), (3, 7, 7)}
