"""dbt's nodes share connections, and nothing else of each other's sessions."""

from __future__ import annotations

import pytest

from tasks import dbt
from tests.integration.dbt.conftest import Shop

pytestmark = pytest.mark.slow

_MODEL = """
{{ config(pre_hook=["set own.mark = 'behind'", "create temp table scratch ()"]) }}
select pg_backend_pid() as session
"""
_NEXT = "select current_setting('own.mark', true) as left_behind, to_regclass('scratch')::text as scratch from"


def test_a_thread_takes_one_connection_which_forgets_what_a_node_did(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAREHOUSE_DBT_THREADS", "1")
    shop.write("models/gold/first.sql", _MODEL)
    shop.write("models/gold/second.sql", f"{_NEXT} {{{{ ref('first') }}}}")
    shop.write("models/gold/third.sql", _MODEL + "from {{ ref('second') }}")
    dbt.run(shop.settings, select=["first", "second", "third"]).check()
    assert shop.one("select count(distinct session) from (table gold.first union all table gold.third) as s") == 1
    assert shop.one("select coalesce(left_behind, '') = '' and scratch is null from gold.second")
