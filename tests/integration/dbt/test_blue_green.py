"""Models are built and tested aside and shown together: what readers see is always whole and good."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from monitoring import lineage, queries, source_freshness
from tasks import dbt
from tasks.dbt import swap
from tasks.errors import DbtError
from tasks.ops import TableKey, resets
from tests.integration.dbt.conftest import Shop

pytestmark = pytest.mark.slow

REPORT = "select orders, total::int, spend::int from gold.rpt_day"


def test_what_to_build_follows_loads_code_macros_and_vars(shop: Shop) -> None:
    everything = {"stg_orders", "stg_spend", "fct_order", "fct_spend", "rpt_day"}
    assert shop.built(shop.build()) == everything
    assert shop.one(REPORT) == (2, 3, 7)
    refs: list[Any] = []
    assert dbt.is_needed(shop.settings, refs, whole=True) is False
    assert shop.build().nodes == ()

    shop.spend(tuesday=3)
    assert shop.built(shop.build()) == {"stg_spend", "fct_spend", "rpt_day"}
    assert shop.one(REPORT) == (2, 3, 10)

    shop.write(
        "models/gold/fct_spend.sql", "select day, spend + {{ var('factor') }} as spend from {{ ref('stg_spend') }}"
    )
    assert shop.built(shop.build()) == {"fct_spend", "rpt_day"}
    assert shop.one(REPORT) == (2, 3, 12)

    project = (shop.folder / "dbt_project.yml").read_text()
    shop.write("dbt_project.yml", project.replace("factor: 1", "factor: 10"))
    assert shop.built(shop.build()) == {"fct_spend", "rpt_day"}
    assert shop.one(REPORT) == (2, 3, 30)

    # A changed macro makes the incremental model anew: rows of before must not keep what the old one made.
    macros = (shop.folder / "macros/names.sql").read_text()
    shop.write("macros/names.sql", macros.replace("* 2", "* 3"))
    assert shop.built(shop.build()) == {"fct_order", "rpt_day"}
    assert shop.one("select sum(twice) from gold.fct_order") == 9
    assert shop.build().nodes == ()

    # A further test judges what is there; a test that fails keeps asking.
    models = (shop.folder / "models/gold/_models.yml").read_text()
    shop.write(
        "models/gold/_models.yml",
        models.replace("name: total, data_tests: [not_null", "name: total, data_tests: [unique, not_null"),
    )
    assert shop.built(shop.build()) == {"fct_order"}
    assert shop.build().nodes == ()


def test_an_incremental_model_goes_on_from_its_rows(shop: Shop) -> None:
    shop.build().check()
    before = shop.one("select max(built_at) from gold.fct_order")
    shop.orders(b=20, c=3)
    shop.build().check()
    found = shop.one(
        "select count(*), sum(total)::int, count(*) filter (where built_at = min) from gold.fct_order,"
        " (select min(built_at) from gold.fct_order) x"
    )
    assert found == (3, 24, 1)
    assert shop.one("select min(built_at) from gold.fct_order") == before
    assert shop.one("select count(*) from pg_indexes where schemaname = 'gold' and tablename = 'fct_order'") == 1


def test_an_incremental_model_is_built_from_nothing_once_a_reset_replaced_the_rows_below(shop: Shop) -> None:
    shop.build().check()
    orders = TableKey("shop", "orders")
    resets.begin(shop.connection, orders, since=None, state={}, replaces=True, after_batch="", asked_by="", why="")
    shop.connection.execute("delete from bronze.shop__orders where _id = 'a'")
    shop.note_batch(*orders, "b9", 1)
    resets.end(shop.connection, orders, "b9")
    shop.build().check()
    assert shop.one("select count(*), sum(total)::int from gold.fct_order") == (1, 2)
    before = shop.one("select min(built_at) from gold.fct_order")
    shop.orders(c=3)
    shop.build().check()
    assert shop.one("select count(*), min(built_at) from gold.fct_order") == (2, before)


def test_bad_rows_stay_aside_and_no_later_run_takes_them_along(shop: Shop) -> None:
    shop.build().check()
    shop.orders(c=None)
    failed = shop.build()
    assert not failed.success
    assert set(failed.held_back) == {"silver.stg_orders", "gold.fct_order", "gold.rpt_day"}
    [test] = failed.failed
    assert (test.error_class, test.owner, test.failing) == ("data_quality", "ana@example.com", ("order_id=c",))
    assert shop.one(REPORT) == (2, 3, 7)
    assert shop.one("select count(*) from gold.fct_order") == 2
    assert shop.leftovers() == 0

    # Another table's run shows what is good of it, made of the last good orders.
    shop.spend(tuesday=3)
    spend = dbt.run(shop.settings, wanted=dbt.Wanted(select=("source:ads.spend+",)))
    assert spend.success and shop.built(spend) == {"stg_spend", "fct_spend", "rpt_day"}
    assert shop.one(REPORT) == (2, 3, 10)

    # The run of all tables tries the orders again, and shows them once they are good.
    assert not shop.build().success
    shop.orders(c=4)
    shop.build().check()
    assert shop.one(REPORT) == (3, 7, 10)


def test_a_model_with_an_error_is_its_owners_and_unrelated_models_are_shown(shop: Shop) -> None:
    (shop.folder / "models/gold/rpt_day.sql").unlink()
    shop.build().check()
    shop.write("models/gold/fct_order.sql", "select order_id, nothing as total from {{ ref('stg_orders') }}")
    shop.orders(c=3)
    shop.spend(tuesday=1)
    result = shop.build()
    failed = next(node for node in result.failed if node.name == "fct_order")
    assert (failed.error_class, failed.owner) == ("model", "ana@example.com")
    assert "nothing" in failed.message
    assert shop.one("select sum(spend)::int from gold.fct_spend") == 8
    assert shop.one("select sum(total)::int from gold.fct_order") == 3
    published = {node.name: node.published for node in result.nodes if node.relation}
    assert published == {"stg_orders": False, "fct_order": False, "stg_spend": True, "fct_spend": True}


def test_rights_and_views_of_people_survive(shop: Shop) -> None:
    shop.connection.execute("create schema if not exists gold")
    role = f"reader_{os.getpid()}"
    shop.connection.execute(f"create role {role}")
    try:
        # New tables get it by default, and one by hand.
        shop.connection.execute(f"grant usage on schema gold to {role}")
        shop.connection.execute(f"alter default privileges in schema gold grant select on tables to {role}")
        shop.build().check()
        shop.connection.execute(f"grant update (total) on gold.fct_order to {role}")
        shop.connection.execute("create schema bi; create view bi.sales as select orders, total from gold.rpt_day")
        shop.connection.execute(f"grant select on bi.sales to {role}; comment on view bi.sales is 'of people'")
        shop.connection.execute("create index of_people on gold.fct_spend (spend) where spend > 1")
        for total in (5, 6):
            shop.orders(c=total)
            shop.build().check()
            rights = shop.one(
                f"select has_table_privilege('{role}', 'gold.fct_order', 'select'),"
                f" has_table_privilege('{role}', 'gold.rpt_day', 'select'),"
                f" has_column_privilege('{role}', 'gold.fct_order', 'total', 'update'),"
                f" has_table_privilege('{role}', 'bi.sales', 'select'), obj_description('bi.sales'::regclass)"
            )
            assert rights == (True, True, True, True, "of people")
            assert shop.one("select orders, total::int from bi.sales") == (3, 3 + total)
            shop.spend(tuesday=total)
            shop.build().check()
            [index] = shop.one("select array_agg(indexdef) from pg_indexes where tablename = 'fct_spend'")
            assert index == "CREATE INDEX of_people ON gold.fct_spend USING btree (spend) WHERE (spend > 1)"
    finally:
        shop.connection.execute(f"drop owned by {role}; drop role {role}")


def test_a_view_that_no_longer_fits_stops_the_swap_and_nothing_changes(shop: Shop) -> None:
    shop.build().check()
    shop.connection.execute("create view gold.of_people as select twice from gold.fct_order")
    shop.write("models/gold/fct_order.sql", "select order_id, total from {{ ref('stg_orders') }}")
    with pytest.raises(DbtError, match=r"gold\.of_people"):
        shop.build()
    assert shop.one("select sum(twice)::int from gold.of_people") == 6
    assert shop.leftovers() == 0


class Reader(threading.Thread):
    """Asks for consistent figures all the time, by name, by a prepared statement, and through a view of people."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url, self.seen, self.errors = url, set[Any](), list[str]()
        self.done = threading.Event()

    def run(self) -> None:
        query = "select r.orders, r.total::int, (select sum(total)::int from gold.fct_order) from {} r"
        with psycopg.connect(self.url, autocommit=True) as connection:
            while not self.done.is_set():
                for name in ("gold.rpt_day", "bi.sales"):
                    try:
                        row = connection.execute(query.format(name).encode(), prepare=True).fetchone()
                    except psycopg.Error as error:
                        self.errors.append(str(error))
                    else:
                        self.seen.add(row)


def test_a_reader_gets_whole_answers_throughout(shop: Shop) -> None:
    shop.build().check()
    shop.connection.execute("create schema bi; create view bi.sales as select orders, total from gold.rpt_day")
    readers = [Reader(shop.url) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        for total in (3, 4, 5):
            shop.orders(c=total)
            shop.build().check()
    finally:
        for reader in readers:
            reader.done.set()
            reader.join()
    for reader in readers:
        assert reader.errors == []
        assert reader.seen <= {(2, 3, 3), (3, 6, 6), (3, 7, 7), (3, 8, 8)}
    assert set().union(*(reader.seen for reader in readers)) == {(2, 3, 3), (3, 6, 6), (3, 7, 7), (3, 8, 8)}


def test_a_long_reader_is_waited_for_and_lets_others_through(shop: Shop) -> None:
    shop.build().check()
    relation = swap.Relation("gold", "rpt_day")
    swap.prepare(shop.connection, ["gold"], [relation])
    with psycopg.connect(shop.url) as slow:
        slow.execute("select * from gold.rpt_day")
        with pytest.raises(DbtError, match="could not take their places"):
            swap.swap(shop.connection, [relation], [], lambda: None, patience_seconds=0.1)
        # Nobody queues behind the swap once it has given up.
        with psycopg.connect(shop.url, options="-c lock_timeout=2s") as other:
            assert other.execute("select orders from gold.rpt_day").fetchone() == (2,)
    swap.swap(shop.connection, [relation], [], lambda: None, patience_seconds=10)
    assert shop.leftovers() == 0


@pytest.mark.parametrize("moment", ["prepare", "build", "show", "clean"])
def test_killed_at_any_point_readers_see_one_state_and_the_next_run_mends_it(shop: Shop, moment: str) -> None:
    """A process that dies without a word, at the beginning of each step of a build."""
    shop.build().check()
    shop.orders(c=3)
    places = {
        "prepare": "dbt.swap._copy",
        "build": "dbt.DbtProcess.build",
        "show": "dbt.dbt_nodes.write",
        "clean": "dbt.swap.clean",
    }
    program = f"""
import os, signal
from tasks import dbt
from tasks.dbt import swap
from tasks.settings import get_settings
calls = []
real = {places[moment]}
def die(*args, **more):
    calls.append(args)
    # Two schemas are cleaned before the build; the next time is after the swap.
    if {moment!r} != "clean" or len(calls) > 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*args, **more)
{places[moment]} = die
dbt.run(get_settings(), wanted=dbt.Wanted(changed=True))
"""
    env = {
        **os.environ,
        "WAREHOUSE_URL": shop.url,
        "WAREHOUSE_HOME": str(shop.settings.home),
        "WAREHOUSE_DBT": str(shop.folder),
    }
    killed = subprocess.run([sys.executable, "-c", program], env=env, cwd=dbt.SHIPPED.parent, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()[-2000:]
    after = (3, 6, 7) if moment == "clean" else (2, 3, 7)
    assert shop.one(REPORT) == after
    shop.build().check()
    assert shop.one(REPORT) == (3, 6, 7)
    # What the killed run left is gone, also where nothing was left to build.
    shop.orders(d=1)
    shop.build().check()
    assert shop.leftovers() == 0


def freshness_by_dbt(shop: Shop) -> list[dict[str, Any]]:
    """Return the results of `dbt source freshness` itself."""
    project, target = dbt.Project.of(shop.settings), shop.settings.home / "by-dbt"
    command = [sys.executable, "-P", "-m", "dbt.cli.main", "source", "freshness", *project.arguments(target)]
    env = dict(dbt.environment(shop.settings.database_url(), os.environ))
    subprocess.run(command, env=env, cwd=project.folder, check=True, capture_output=True)
    results: list[dict[str, Any]] = json.loads((target / "sources.json").read_text())["results"]
    return results


def test_source_freshness_is_what_dbt_finds(shop: Shop) -> None:
    project = lineage.read(shop.build().target / "manifest.json")
    assert project is not None
    lineage.save(shop.connection, project)
    for age in ("1 minute", "3 hours"):
        shop.connection.execute(
            f"update bronze.shop__orders set _loaded_at = now() - interval '{age}'"  # type: ignore[arg-type]
        )
        source_freshness.check(shop.connection, datetime.now(UTC))
        [ours] = queries.source_freshness(shop.connection)
        [theirs] = freshness_by_dbt(shop)
        assert theirs["unique_id"] == f"source.own.{ours.name}"
        assert (ours.status, ours.newest) == (theirs["status"], datetime.fromisoformat(theirs["max_loaded_at"]))
    assert ours.status == "warn"
