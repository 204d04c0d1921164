"""Data tests are asked together, and say to the letter what each of them says alone."""

from __future__ import annotations

from typing import Any

import pytest

from tasks import dbt
from tests.integration.dbt.conftest import Shop

pytestmark = pytest.mark.slow

_TESTS = """
data_tests: {own: {+store_failures: true, +schema: test_failures}}
"""
_MODELS = """
models:
- name: fct_order
  data_tests:
  - total_below: {arguments: {most: 5}}
  - total_below: {name: few_are_above_one, arguments: {most: 1}, config: {warn_if: ">= 4", error_if: ">= 5"}}
  - total_below: {name: some_warn, arguments: {most: 1}, config: {warn_if: ">= 2", error_if: ">= 5"}}
  - total_below: {name: sum_of_totals, arguments: {most: 1}, config: {fail_calc: "sum(total)", error_if: "> 10"}}
  - total_below: {name: sum_of_none, arguments: {most: 99}, config: {fail_calc: "sum(total)"}}
  - total_below: {name: one_of_several, arguments: {most: 1}, config: {limit: 1}}
  - total_below: {name: as_a_view, arguments: {most: 99}, config: {store_failures_as: view}}
  - total_below: {name: not_kept, arguments: {most: 5}, config: {store_failures: false}}
  columns:
  - {name: order_id, data_tests: [not_null, unique]}
  - name: total
    data_tests:
    - not_null: {config: {severity: warn}}
    - not_null: {name: no_null_but_of_d, config: {where: "order_id <> 'd'"}}
    - not_null: {name: two_nulls_at_most, config: {error_if: "> 2", warn_if: "> 2"}}
    - unique
    - accepted_values: {name: values_of_all, arguments: {values: [1, 2, 7], quote: false}}
    - accepted_values: {name: values_of_some, arguments: {values: [1, 2], quote: false}}
  - {name: built_at, data_tests: [not_null]}
- name: fct_spend
  columns:
  - name: day
    data_tests:
    - relationships: {name: day_is_an_order, arguments: {to: ref('fct_order'), field: order_id}}
    - relationships: {name: day_is_a_day, arguments: {to: ref('stg_spend'), field: day}}
    - not_null: {name: no_placeholder, config: {where: "day not like '%(x)s'"}}
- name: leaf
  columns:
  - {name: spend, data_tests: [not_null, unique]}
  - {name: nothing, data_tests: [not_null]}
"""
_FILES = {
    "macros/total_below.sql": """
{% test total_below(model, most) %}select order_id, total from {{ model }} where total > {{ most }} -- to the end
{% endtest %}""",
    "models/gold/leaf.sql": "select spend from {{ source('ads', 'spend') }}",
    "tests/no_order_of_seven.sql": "select * from {{ ref('fct_order') }} where total = 7",
    "tests/no_order_of_eight.sql": "select * from {{ ref('fct_order') }} where total = 8",
    "models/gold/_models.yml": _MODELS,
}
# A project that says how its tests run is left to itself; this one says it as dbt does.
_OWN_WAY = """
{% macro default__get_limit_sql(sql, limit) %}
  {{ sql }}
  {% if limit is not none %}
  limit {{ limit }}
  {%- endif -%}
{% endmacro %}
"""


_EXPECTED = {
    **dict.fromkeys(["day_is_a_day", "no_placeholder", "as_a_view", "no_order_of_eight", "few_are_above_one"], "pass"),
    **dict.fromkeys(["not_null_fct_order_built_at", "not_null_fct_order_order_id", "two_nulls_at_most"], "pass"),
    **dict.fromkeys(["unique_fct_order_order_id", "values_of_all"], "pass"),
    **dict.fromkeys(["not_null_fct_order_total", "some_warn"], "warn"),
    **dict.fromkeys(["day_is_an_order", "no_order_of_seven", "no_null_but_of_d", "one_of_several"], "fail"),
    **dict.fromkeys(["sum_of_totals", "total_below_fct_order_5", "not_kept"], "fail"),
    **dict.fromkeys(["unique_fct_order_total", "values_of_some"], "fail"),
    # Nothing can be compared with a null.
    "sum_of_none": "error",
    # One that does not fit its relation leaves the others of it to themselves.
    "not_null_leaf_nothing": "error",
    **dict.fromkeys(["not_null_leaf_spend", "unique_leaf_spend"], "pass"),
}


def _told(result: dbt.DbtResult) -> dict[str, Any]:
    tests = [node for node in result.nodes if node.resource_type == "test"]
    return {node.name: (node.status, node.failures, node.message, node.failing) for node in tests}


def _kept(shop: Shop) -> dict[str, list[str]]:
    """Return the rows in each table of failures."""
    names = shop.connection.execute("select relname from pg_class where relnamespace = 'test_failures'::regnamespace")
    return {name: _rows(shop, name) for (name,) in names.fetchall()}


def _rows(shop: Shop, name: str) -> list[str]:
    query = f"select (to_jsonb(t) - 'built_at')::text from test_failures.\"{name}\" as t order by 1"
    return [row for (row,) in shop.connection.execute(query.encode()).fetchall()]


def test_what_tests_say_together_they_say_alone(shop: Shop) -> None:
    for name, text in _FILES.items():
        shop.write(name, text)
    shop.write("dbt_project.yml", (shop.folder / "dbt_project.yml").read_text() + _TESTS)
    shop.orders(c=2, d=None, e=None, f=7)
    shop.write("macros/own_way.sql", _OWN_WAY)
    alone = dbt.run(shop.settings)
    kept_alone = _kept(shop)
    shop.write("macros/own_way.sql", "")
    together = dbt.run(shop.settings)
    kept = _kept(shop)

    assert {name: status for name, (status, *_) in _told(together).items()} == _EXPECTED
    assert _told(together) == _told(alone)
    assert together.held_back == alone.held_back
    # Those that fail keep the same rows. Those that pass keep no table, and drop what there was.
    assert {name: kept_alone[name] for name in kept} == kept
    gone = kept_alone.keys() - kept.keys()
    assert {"unique_fct_order_order_id", "day_is_a_day", "no_order_of_eight"} <= gone
    assert {_EXPECTED[name] for name in gone} == {"pass"}
    assert kept["no_null_but_of_d"] and kept["values_of_some"] == ['{"n_records": 1, "value_field": 7}']
