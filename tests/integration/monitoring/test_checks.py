"""Each check against a real warehouse: figures, findings, incidents, reconciliation, retention and metrics."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

import psycopg
import pytest

from monitoring import (
    anomalies,
    freshness,
    incidents,
    lineage,
    log,
    measures,
    prometheus,
    queries,
    read,
    reconciliation,
    retention,
    source_freshness,
)
from tasks.errors import SourceUnreachable
from tasks.sources import TableRef
from tasks.sources.connector import Count
from tests.toy_kind.toy_source import ToyConnector, ToySource, ToyTable

NOW = datetime.now(UTC).replace(hour=12)
MIDNIGHT = NOW.replace(hour=0, minute=0, second=0, microsecond=0)


@pytest.fixture(autouse=True)
def no_sale(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in the week of Black Friday these tests have the same answers."""
    monkeypatch.setattr(anomalies, "is_sale", lambda day: False)


def extract(days: float, rows: int, table: str = "orders", **more: Any) -> dict[str, Any]:
    began = MIDNIGHT - timedelta(days=days) + timedelta(hours=1)
    return {
        "flow_run_id": uuid4(),
        "flow_name": "extract",
        "stage": "extract",
        "source": "shop",
        "table_name": table,
        "state": "Completed",
        "started_at": began,
        "rows_landed": rows,
        "rows_read": rows,
        "bytes_read": rows * 400,
        "seconds": 3.0,
        **more,
    }


def test_odd_days_are_found_once_and_confirmed_ones_are_no_measure(connection: psycopg.Connection[Any]) -> None:
    random_ = random.Random(5)
    usual = [extract(day, random_.randint(950, 1050)) for day in range(60, 1, -1)]
    steady = [extract(day, 5000 + random_.randint(-50, 50), "tags") for day in range(60, 0, -1)]
    log.write(connection, [*usual, extract(1, 120), *steady])
    measures.check(connection, NOW)
    (rows,) = (one for one in queries.anomalies(connection) if one.measure == "rows")
    assert (rows.table_name, rows.value, rows.rule, rows.status) == ("orders", 120.0, "unusual", "open")
    assert rows.low is not None and 600 < rows.low < 1000 and "% less" in rows.message
    measures.check(connection, NOW)
    assert len([one for one in queries.anomalies(connection) if one.measure == "rows"]) == 1
    connection.execute("update monitoring.anomalies set status = 'confirmed'")
    measures.check(connection, NOW)
    assert {one.status for one in queries.anomalies(connection)} == {"confirmed"}


def test_a_day_whose_rows_came_late_is_no_anomaly_any_more(connection: psycopg.Connection[Any]) -> None:
    log.write(connection, [extract(day, 1000) for day in range(40, 1, -1)] + [extract(1, 100)])
    measures.check(connection, NOW)
    assert [one.measure for one in queries.anomalies(connection)].count("rows") == 1
    log.write(connection, [extract(1, 900)])
    measures.check(connection, NOW + timedelta(hours=1))
    assert [one.measure for one in queries.anomalies(connection)].count("rows") == 0


def test_the_day_that_goes_on_can_only_hold_too_much(connection: psycopg.Connection[Any]) -> None:
    log.write(connection, [extract(day, 1000) for day in range(40, 0, -1)] + [extract(0, 10)])
    measures.check(connection, NOW)
    assert queries.anomalies(connection) == []
    log.write(connection, [extract(0, 3000)])
    measures.check(connection, NOW)
    assert {(one.measure, one.day) for one in queries.anomalies(connection)} >= {("rows", NOW.date())}


def test_spend_is_watched_by_account_and_null_rates_by_field(connection: psycopg.Connection[Any]) -> None:
    connection.execute("create schema gold")
    connection.execute(
        "create table gold.fct_ad_spend_daily as select d::date as spent_on, platform, account_id, 'EUR' as currency, "
        # The fourth account's currency has no exchange rate.
        "case when account_id = 'd' then null when account_id = 'b' and d::date = current_date - 1 then 205.0 "
        "else 100.0 + extract(day from d) / 10 end as spend "
        "from generate_series(current_date - 60, current_date - 1, '1 day') d, "
        "(values ('meta', 'a'), ('meta', 'b'), ('google', 'c'), ('tiktok', 'd')) as accounts (platform, account_id)"
    )
    connection.execute(
        "insert into ops.field_statistics (source, table_name, path, batch_id, row_count, present, null_count, "
        "empty_count, types, extracted_at) select 'shop', 'orders', path, d::text, 100, "
        "case when path = 'email' and d::date = current_date - 1 then 40 else 98 + extract(day from d)::int % 2 end, "
        "0, 0, '{}', d + interval '1 hour' from "
        "generate_series(current_date - 40, current_date - 1, '1 day') d, (values ('email'), ('total')) as p (path)"
    )
    measures.check(connection, datetime.now(UTC))
    found = {(one.measure, one.account, one.field, one.rule) for one in queries.anomalies(connection)}
    assert found == {("spend", "b", "EUR", "doubled"), ("null rate", "", "email", "unusual")}


def node(name: str, **more: Any) -> lineage.Node:
    made = {"owner": None, "sla_seconds": None, "parents": (), "sources": ("shop__orders",)} | more
    return lineage.Node(f"model.p.{name}", name, f"gold.{name}", "gold", **made)


def save(connection: psycopg.Connection[Any], *nodes: lineage.Node, rules: tuple[Any, ...] = ()) -> None:
    lineage.save(connection, lineage.Project(nodes, rules))


def test_what_is_wrong_in_the_projects_configuration_is_an_incident_until_it_is_not(
    connection: psycopg.Connection[Any],
) -> None:
    save(connection, node("fct", problem="meta.sla: 'soon' is no span of time"), node("rpt"))
    assert open_now(connection) == ["gold.fct: configuration"]
    (one,) = queries.incidents(connection)
    assert (one.error_class, one.severity, one.owner) == ("config", "low", "owner of the model")
    assert read.notes(connection)[-1] == "Configuration: gold.fct: meta.sla: 'soon' is no span of time."
    save(connection, node("fct"), node("rpt"))
    assert open_now(connection) == []


def rule(table: str, query: str = "") -> source_freshness.Rule:
    asked = query or f"select max(at) from bronze.{table}"
    return source_freshness.Rule(f"shop.{table}", f"bronze.{table}", asked, 3_600, 7_200)


def test_sources_are_judged_by_their_projects_rule(connection: psycopg.Connection[Any]) -> None:
    for table, age in (("new", "1 minute"), ("old", "90 minutes"), ("foreign", "1 day"), ("ours", "1 day")):
        connection.execute(
            f"create table bronze.{table} as select now() - interval '{age}' as at"  # type: ignore[arg-type]
        )
    connection.execute("create table bronze.day as select current_date + 1 as at")
    connection.execute("insert into ops.tables (source, table_name, relation) values ('shop', 'ours', 'ours')")
    writing = rule("new", "delete from bronze.new returning at")
    rules = (*map(rule, ("new", "old", "foreign", "ours", "absent", "day")), replace(writing, name="shop.writing"))
    save(connection, rules=rules)
    source_freshness.check(connection, datetime.now(UTC))
    found = {row.name: row for row in queries.source_freshness(connection)}
    assert {name: row.status for name, row in found.items()} == {
        "shop.new": "pass", "shop.old": "warn", "shop.foreign": "error", "shop.ours": "error", "shop.day": "pass",
        "shop.writing": "runtime error",
    }  # fmt: skip
    assert "read-only" in (found["shop.writing"].message or "")
    # Ours is judged by its reads: a table that does not change is not late.
    assert open_now(connection) == ["source shop.foreign: freshness", "source shop.writing: freshness"]
    # A project without the rule has no verdict on it.
    save(connection, rules=rules[:1])
    assert [row.name for row in queries.source_freshness(connection)] == ["shop.new"]


def test_freshness_by_lineage(connection: psycopg.Connection[Any]) -> None:
    now = datetime.now(UTC)
    save(connection, node("fct", owner="Sales data"), node("rpt", parents=("model.p.fct",), sla_seconds=3600))
    run = uuid4()
    began = now - timedelta(hours=3)

    def of_dbt(name: str, state: str, **more: Any) -> dict[str, Any]:
        row = extract(0, 0, name, stage="dbt", source="gold", state=state, started_at=began, flow_run_id=run)
        return {**row, "rows_landed": None, **more}

    quiet = extract(0, 0, started_at=now - timedelta(hours=2))
    log.write(connection, [quiet, of_dbt("fct", "Completed"), of_dbt("rpt", "Completed")])
    promises = freshness.Promises()
    freshness.check(connection, ["shop.orders"], promises, now)
    verdicts = {row.relation: row for row in queries.freshness(connection)}
    assert (verdicts["shop.orders"].state, verdicts["gold.fct"].state) == ("fresh", "fresh")
    assert (verdicts["gold.rpt"].state, verdicts["gold.rpt"].as_of) == ("stale", quiet["started_at"])
    assert verdicts["gold.fct"].owner == "Sales data"
    failed = of_dbt(
        "fct", "Failed", started_at=now, error_class="model", error_message="column x\nmore", flow_run_id=uuid4()
    )
    log.write(connection, [failed])
    freshness.check(connection, ["shop.orders"], promises, now)
    verdicts = {row.relation: row for row in queries.freshness(connection)}
    assert (verdicts["gold.fct"].state, verdicts["gold.fct"].because) == ("behind", "fct failed: column x")
    assert (verdicts["gold.rpt"].state, verdicts["gold.rpt"].because) == ("stale", "fct failed: column x")


def failing(error_class: str, hours: float, table: str = "orders", **more: Any) -> dict[str, Any]:
    began = datetime.now(UTC) - timedelta(hours=hours)
    failed = {"state": "Failed", "error_class": error_class, "error_message": f"refused a@b.example {hours}"}
    return extract(0, 0, table, started_at=began, **(failed | more))


def open_now(connection: psycopg.Connection[Any]) -> list[str]:
    incidents.record(connection, incidents.problems(connection), datetime.now(UTC))
    return sorted(one.title for one in queries.incidents(connection, open_only=True))


def test_an_incident_is_one_from_its_first_sight_to_its_recovery(connection: psycopg.Connection[Any]) -> None:
    log.write(connection, [failing("auth", 5)])
    assert open_now(connection) == ["extract shop.orders: credentials or rights"]
    log.write(connection, [failing("auth", 4)])
    assert open_now(connection) == ["extract shop.orders: credentials or rights"]
    (one,) = queries.incidents(connection)
    assert (one.seen, one.owner, one.runbook) == (2, "owner of the credentials", "docs/runbooks/classes/auth.md")
    assert "a@b.example" not in one.message
    log.write(connection, [extract(0, 5, started_at=datetime.now(UTC) - timedelta(hours=3))])
    assert open_now(connection) == []
    # The same again within the day is no news.
    log.write(connection, [failing("auth", 2)])
    assert len(open_now(connection)) == 1 and len(queries.incidents(connection)) == 1


@pytest.mark.parametrize("error_class", ["network", "resource", "quota"])
def test_what_the_next_run_heals_is_told_only_when_it_did_not(
    error_class: str, connection: psycopg.Connection[Any]
) -> None:
    log.write(connection, [failing(error_class, 5)])
    assert open_now(connection) == []
    log.write(connection, [failing(error_class, 4)])
    assert len(open_now(connection)) == 1


def run_of(flow: str, hours: float, state: str, *tables: str, **more: Any) -> dict[str, Any]:
    """Return a flow run's own row, and what it was asked for; it takes no time."""
    own: dict[str, Any] = {"source": None, "table_name": None, "flow_name": flow, "tables": list(tables) or None}
    killed = (
        {} if state in ("Completed", "Running") else {"error_class": "resource", "error_message": "its process is gone"}
    )
    row = extract(0, 0, started_at=datetime.now(UTC) - timedelta(hours=hours), state=state, **own)
    return row | {"stage": "dbt" if flow == "dbt-transform" else flow} | killed | more


@pytest.mark.parametrize("flow", ["pipeline", "dbt-transform"])
def test_a_killed_run_is_an_incident_until_all_it_was_asked_for_ends_well(
    flow: str, connection: psycopg.Connection[Any]
) -> None:
    log.write(connection, [run_of(flow, 9, "Crashed", "ads.clicks", "shop.orders")])
    assert [title.partition(":")[0] for title in open_now(connection)] == [f"{run_of(flow, 0, '')['stage']} {flow}"]
    for others in (["ads"], ["shop"], ["ads.clicks", "shop.customers"]):
        log.write(connection, [run_of(flow, 8, "Completed", *others)])
        assert len(open_now(connection)) == 1, f"a run of {others} says nothing of the rest"
    log.write(connection, [run_of(flow, 7, "Running")])
    assert len(open_now(connection)) == 1, "it may be killed, too"
    log.write(connection, [run_of(flow, 6, "Completed", "ads", "shop.orders", "shop.tags")])
    assert open_now(connection) == []
    log.write(connection, [run_of(flow, 5, "Crashed")])
    log.write(connection, [run_of(flow, 4, "Completed", "ads", "shop")])
    assert len(open_now(connection)) == 1, "everything is more than some sources"
    log.write(connection, [run_of(flow, 3, "Completed")])
    assert open_now(connection) == []


@pytest.mark.parametrize("run_state", ["Crashed", "Lost"])
def test_tables_of_a_killed_run_are_well_by_their_own_or_by_a_whole_run(
    run_state: str, connection: psycopg.Connection[Any]
) -> None:
    run = uuid4()
    own = run_of("load-bronze", 9, run_state, "shop.orders", "shop.tags", flow_run_id=run, stage="load")
    tables = [
        own | {"source": "shop", "table_name": name, "state": "Missing", "tables": None} for name in ("orders", "tags")
    ]
    log.write(connection, [own, *tables])
    kind = "disk, room or process"
    assert open_now(connection) == [f"load shop.orders: {kind}", f"load shop.tags: {kind}"]
    log.write(connection, [extract(0, 5, stage="load", started_at=datetime.now(UTC) - timedelta(hours=8))])
    assert open_now(connection) == [f"load shop.tags: {kind}"]
    log.write(connection, [run_of("pipeline", 7, "Completed", "shop.orders")])
    assert open_now(connection) == [f"load shop.tags: {kind}"]
    # It was killed after its last table was loaded: nothing is left for a load.
    log.write(connection, [run_of("pipeline", 6, "Completed", "shop")])
    assert open_now(connection) == []


def test_a_killed_build_is_well_once_a_pipeline_with_models_finds_nothing_to_build(
    connection: psycopg.Connection[Any],
) -> None:
    log.write(connection, [run_of("dbt-transform", 9, "Crashed", "shop.orders")])
    for others in ({"models": False}, {"tables": ["shop.tags"], "models": True}):
        log.write(connection, [run_of("pipeline", 8, "Completed", "shop.orders", **others)])
        assert len(open_now(connection)) == 1
    log.write(connection, [run_of("pipeline", 7, "Completed", "shop", models=True)])
    assert open_now(connection) == []


def test_an_incident_does_what_its_error_says_is_to_be_done(connection: psycopg.Connection[Any]) -> None:
    said = f"SourceAuthError: {'refused ' * 60}| meta_ads | make a new token"
    log.write(connection, [failing("auth", 5, error_message=said)])
    open_now(connection)
    (one,) = queries.incidents(connection)
    assert one.first_step == "Make a new token." and "|" not in one.message
    log.write(connection, [failing("auth", 4, error_message="the account is closed")])
    open_now(connection)
    (one,) = queries.incidents(connection)
    assert (one.message, one.seen) == ("the account is closed", 2), "it says what is wrong now"


def test_a_model_that_failed_is_well_once_a_pipeline_of_all_has_nothing_left_to_build(
    connection: psycopg.Connection[Any],
) -> None:
    save(connection, replace(node("rpt"), owner="crm team"))
    broken = {"stage": "dbt", "source": "gold", "table_name": "rpt", "error_message": "column x does not exist"}
    log.write(connection, [failing("model", 9, **broken)])
    (one,) = incidents.problems(connection)
    assert (one.subject, one.owner) == ("dbt gold.rpt", "crm team")
    for others in ({"models": False}, {"models": True, "tables": ["shop.orders"]}):
        log.write(connection, [run_of("pipeline", 8, "Completed", **others)])
        assert len(incidents.problems(connection)) == 1
    log.write(connection, [run_of("pipeline", 7, "Completed", models=True)])
    assert incidents.problems(connection) == []


def test_an_evicted_run_is_an_incident_unless_it_goes_on(connection: psycopg.Connection[Any]) -> None:
    row = failing("evicted", 5)
    own = run_of("extract", 5, "AwaitingRetry", "shop.orders", flow_run_id=row["flow_run_id"], error_class=None)
    log.write(connection, [row, own])
    assert open_now(connection) == []
    log.write(connection, [own | {"state": "Failed"}])
    assert open_now(connection) == ["extract shop.orders: evicted"]


def test_a_run_whose_tables_tell_the_reason_is_not_told_twice(connection: psycopg.Connection[Any]) -> None:
    run, parent = uuid4(), uuid4()
    own = failing("auth", 5, flow_run_id=run, parent_run_id=parent) | {"source": None, "table_name": None}
    above = own | {"flow_run_id": parent, "parent_run_id": None, "stage": "pipeline", "flow_name": "pipeline"}
    log.write(connection, [above, own, failing("auth", 5, flow_run_id=run, parent_run_id=parent)])
    assert open_now(connection) == ["extract shop.orders: credentials or rights"]


def test_a_look_that_reaches_the_warehouse_takes_no_earlier_one_that_did_not_for_an_incident(
    connection: psycopg.Connection[Any],
) -> None:
    looks = {"stage": "monitoring", "flow_name": "monitoring", "source": None, "table_name": None}
    away = {"error_message": "WarehouseUnreachable: Postgres does not answer"}
    log.write(connection, [failing("network", hours, **looks, **away) for hours in (5, 4)])
    assert open_now(connection) == []
    log.write(connection, [failing("code", 3, **looks, error_message="12 log row(s); measures: KeyError: 'x'")])
    assert open_now(connection) == ["monitoring monitoring: defect"]


def test_source_bronze_and_gold_line_by_line(connection: psycopg.Connection[Any]) -> None:
    connection.execute("create schema if not exists bronze; create schema gold")
    connection.execute(
        "create table bronze.shop__orders as select n::text as _id, n::numeric / 100 as total, "
        "null::timestamptz as _deleted_at, null::jsonb as _rescued from generate_series(1, 100) n"
    )
    connection.execute(
        """update bronze.shop__orders set total = null, _rescued = '{"total": "0.07"}' where _id = '7'"""
    )
    connection.execute(
        "insert into ops.tables (source, table_name, relation) values ('shop', 'orders', 'shop__orders')"
    )
    connection.execute(
        "create table gold.fct_order as select n as order_id, n::numeric / 100 as total from generate_series(1, 100) n"
    )
    # Three accounts, of which one has two versions, beside a guest and one that was deleted.
    connection.execute(
        "create table bronze.shop__customers as select n::text as _id, null::timestamptz as _deleted_at "
        "from generate_series(1, 3) n; create table gold.dim_customer as select customer_id, is_current, kind "
        "from (values ('1', false, 'registered'), ('1', true, 'registered'), ('2', true, 'registered'), "
        "('3', true, 'registered'), ('guest:a', true, 'guest'), ('4', true, 'deleted'), ('unknown', true, 'unknown')) "
        "as made (customer_id, is_current, kind)"
    )
    connection.execute(
        "insert into ops.batches (source, table_name, batch_id, status, mode, scope, rows_landed, bytes, extracted_at, "
        "loaded_at, seconds) values ('shop', 'orders', '1', 'loaded', 'full', '{}', 100, 1, now(), now(), 1)"
    )
    # What the source itself was asked before the last load does not make the other lines old.
    connection.execute(
        "insert into monitoring.reconciliation (day, line, source, table_name, measure, state, checked_at) "
        "values (%s, 'rows at the source now: shop.orders', 'shop', 'orders', 'rows', 'equal', now() - interval '1 h')",
        [datetime.now(UTC).date()],
    )
    assert reconciliation.check(connection, ["shop.orders"], datetime.now(UTC)) == 0
    lines = {row.line: row for row in queries.reconciliation(connection)}
    assert {line: row.state for line, row in lines.items()} == {
        "rows at the source now: shop.orders": "equal",
        "rows of shop.orders": "equal",
        "orders in gold": "equal",
        "customers in gold": "equal",
        "sum of orders' totals": "equal",
    }
    # A document that was refused as it landed is not among its rows; bronze keeps the version that it has.
    connection.execute("update ops.batches set rows_landed = 99")
    connection.execute(
        "insert into ops.rejects (source, table_name, batch_id, stage, reason, document_id) "
        "values ('shop', 'orders', '1', 'extract', 'total range', '7')"
    )
    assert reconciliation.check(connection, ["shop.orders"], datetime.now(UTC), every=True) == 0
    kept = next(one for one in queries.reconciliation(connection) if one.line == "rows of shop.orders")
    assert kept.note == "1 of them were refused: bronze keeps their earlier versions"
    connection.execute("update gold.fct_order set total = total + 0.01 where order_id = 1")
    assert reconciliation.check(connection, ["shop.orders"], datetime.now(UTC)) == 0, "it was done today"
    assert reconciliation.check(connection, ["shop.orders"], datetime.now(UTC), every=True) == 1
    first = queries.reconciliation(connection)[0]
    assert (first.line, first.difference is not None and float(first.difference)) == ("sum of orders' totals", 0.01)
    assert open_now(connection) == ["sum of orders' totals: reconciliation"]
    # What gold leaves out by its own rules is told with it.
    connection.execute(
        "delete from gold.fct_order where order_id in (2, 3);"
        "create table gold.rpt_quarantine as select * from (values ('orders', 2), ('orders', 3), ('events', 4)) "
        "as v (entity, entity_id)"
    )
    assert reconciliation.check(connection, [], datetime.now(UTC), every=True) == 2
    said = {one.subject: one.message for one in incidents.problems(connection)}
    assert said["orders in gold"] == "bronze 100, gold 98; 2 set aside, each with its reason in gold.rpt_quarantine"


def test_spend_of_each_platform_is_the_same_at_the_channel_in_bronze_and_in_gold(
    connection: psycopg.Connection[Any],
) -> None:
    connection.execute(
        "create schema silver; create schema gold;"
        "create view silver.int_ads__spend as select * from (values ('google_ads', 'google_ads__campaigns', 12.5), "
        "('meta_ads', 'ads__meta_ads', 7)) as v (platform, read_from, spend);"
        "insert into ops.tables (source, table_name, relation) values "
        "('google_ads', 'campaigns', 'google_ads__campaigns'), ('ads', 'meta_ads', 'ads__meta_ads');"
        "create table gold.fct_ad_spend_daily as select * from (values ('google_ads', 12.5, 11), ('meta_ads', 6.5, 6)) "
        "as v (platform, original_spend, spend);"
        "insert into ops.pulls (source, table_name, account, day, pulled_at, batch_id, row_count, final, totals) values"
        # The later pull of a day counts, as it restated it.
        " ('google_ads', 'campaigns', 'a', '2026-11-01', '2026-11-02', '1', 1, false, '{\"cost_micros\": \"9\"}'),"
        " ('google_ads', 'campaigns', 'a', '2026-11-01', '2026-11-03', '2', 1, true, '{\"cost_micros\": \"12500000\"}')"
    )
    assert reconciliation.check(connection, [], datetime.now(UTC)) == 1
    meta, google = queries.reconciliation(connection)
    assert (google.line, google.state) == ("spend of google_ads", "equal")
    assert google.source_value == google.bronze_value == google.gold_value == Decimal("12.5")
    assert (meta.line, meta.state, meta.source_value, meta.difference) == (
        "spend of meta_ads", "differs", None, Decimal("0.5"),
    )  # fmt: skip
    (one,) = incidents.problems(connection)
    assert one.message == "bronze 7, gold 6.5; files and their days have no totals of their own"


class Counting(ToyConnector):
    """A source that knows how many rows its tables have."""

    counts: ClassVar[dict[str, Count]] = {}
    asked: ClassVar[list[list[str]]] = []

    def count(self, refs: Sequence[TableRef], seconds: float) -> Mapping[str, Count]:
        self.asked.append([ref.name for ref in refs])
        if not self.counts:
            raise SourceUnreachable("nobody answers", "shop", "start it")
        return self.counts


@pytest.fixture
def counted(connection: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch) -> tuple[Counting, list[TableRef]]:
    """Three tables of 1000 rows in bronze, of which two were read just now."""
    made = Counting()
    made.asked.clear()
    monkeypatch.setattr(TableRef, "connector", property(lambda ref: made))
    tables = {name: ToyTable(file=name) for name in ("orders", "events", "old")}
    refs = [
        TableRef("shop", name, ToySource(kind="toy", folder=Path(), tables=tables), tables[name]) for name in tables
    ]
    for name in tables:
        connection.execute(
            f"create table bronze.shop__{name} as "  # type: ignore[arg-type]
            "select n as _id, null::timestamptz as _deleted_at from generate_series(1, 1000) n"
        )
        connection.execute("insert into ops.tables values ('shop', %s, '', %s)", [name, f"shop__{name}"])
    now = datetime.now(UTC)
    read = [extract(0, 0, name, started_at=now - timedelta(minutes=5)) for name in ("orders", "events")]
    log.write(connection, [*read, extract(0, 0, "old", started_at=now - timedelta(hours=3))])
    freshness.check(connection, [ref.name for ref in refs], freshness.Promises(), now)
    return made, refs


@pytest.mark.parametrize(
    ("count", "state"),
    [
        (Count(1000, True, True), "equal"),
        (Count(1010, True, True), "about"),
        (Count(990, True, True), "about"),
        (Count(1011, True, True), "differs"),
        (Count(400, True, True), "differs"),
        (Count(400, True, False), "about"),
        (Count(1100, True, False), "differs"),
    ],
)
def test_rows_at_the_source_are_asked_once_a_day_after_a_read(
    connection: psycopg.Connection[Any], counted: tuple[Counting, list[TableRef]], count: Count, state: str
) -> None:
    connector, refs = counted
    connector.counts = {"shop.orders": count}
    reconciliation.check_sources(connection, refs, datetime.now(UTC))
    reconciliation.check_sources(connection, refs, datetime.now(UTC))
    assert connector.asked == [["shop.orders", "shop.events"], ["shop.events"]], "what was not told is asked again"
    (line,) = queries.reconciliation(connection)
    assert (line.line, line.state) == ("rows at the source now: shop.orders", state)
    assert (line.source_value, line.bronze_value) == (count.rows, 1000)


def test_refused_documents_are_at_the_source_alone(
    connection: psycopg.Connection[Any], counted: tuple[Counting, list[TableRef]]
) -> None:
    connector, refs = counted
    connector.counts = {"shop.orders": Count(1030, False, True)}
    connection.execute(
        "insert into ops.rejects (source, table_name, batch_id, stage, document_id, reason) "
        "select 'shop', 'orders', batch::text, 'load', n, 'odd' "
        "from generate_series(1, 25) n, generate_series(1, 2) batch"
    )
    reconciliation.check_sources(connection, refs, datetime.now(UTC))
    (line,) = queries.reconciliation(connection)
    assert (line.state, line.note) == ("about", "as the source's own books say; 25 refused, and not in bronze")


def test_a_source_that_does_not_answer_is_told_and_not_asked_again_that_day(
    connection: psycopg.Connection[Any], counted: tuple[Counting, list[TableRef]]
) -> None:
    connector, refs = counted
    connector.counts = {}
    reconciliation.check_sources(connection, refs, datetime.now(UTC))
    reconciliation.check_sources(connection, refs, datetime.now(UTC))
    assert len(connector.asked) == 1
    lines = queries.reconciliation(connection)
    assert {line.note for line in lines} == {"not asked: nobody answers"} and open_now(connection) == []


def test_what_is_rolled_up_adds_up_and_is_removed_once(connection: psycopg.Connection[Any]) -> None:
    rows = [extract(day, 10, seconds=float(day)) for day in (200, 200, 100, 95, 10)]
    log.write(connection, rows)
    before = sum(day.rows_landed for day in queries.throughput(connection, days=400))
    assert retention.apply(connection, NOW) == 4 and retention.apply(connection, NOW) == 0
    assert sum(day.rows_landed for day in queries.throughput(connection, days=400)) == before == 50
    # Rows of an old day that come later are added.
    log.write(connection, [extract(200, 7, state="Failed")])
    assert retention.apply(connection, NOW) == 1
    (oldest, *_) = queries.throughput(connection, days=400)
    assert (oldest.rows_landed, oldest.runs, oldest.failures) == (27, 3, 1)


def test_days_are_the_same_from_the_log_and_from_its_sums(connection: psycopg.Connection[Any]) -> None:
    def days() -> list[tuple[Any, ...]]:
        names = (
            "day, stage, source, table_name, runs, failures, rows_landed, seconds, seconds_p50, seconds_p95, "
            "rows_unchanged, cpu_seconds, peak_memory_bytes"
        )
        return connection.execute(f"select {names} from monitoring.days order by 1, 2, 3, 4".encode()).fetchall()

    used = {"rows_unchanged": 4, "cpu_seconds": 0.5, "peak_memory_bytes": 100}
    failed = extract(2, 0, "tags", state="Failed", error_class="auth")
    log.write(
        connection, [extract(day, 10 + day, seconds=float(day), **used) for day in (0, 1, 2, 2, 2, 30)] + [failed]
    )
    before = days()
    assert [(row[0], row[3], row[4], row[5], row[6]) for row in before] == [
        ((NOW - timedelta(days=30)).date(), "orders", 1, 0, 40),
        ((NOW - timedelta(days=2)).date(), "orders", 3, 0, 36),
        ((NOW - timedelta(days=2)).date(), "tags", 1, 1, 0),
        ((NOW - timedelta(days=1)).date(), "orders", 1, 0, 11),
        (NOW.date(), "orders", 1, 0, 10),
    ]
    assert retention.apply(connection, NOW) == 0
    assert connection.execute("select count(*) from monitoring.pipeline_daily").fetchone() == (4,), "today goes on"
    assert days() == before
    # A run of a day that was summed up is written again, as it ended meanwhile; another comes late.
    log.write(connection, [failed | {"state": "Completed", "rows_landed": 5}, extract(1, 100, seconds=1.0)])
    retention.apply(connection, NOW)
    assert [(row[3], row[4], row[5], row[6]) for row in days()[2:4]] == [("tags", 1, 0, 5), ("orders", 2, 0, 111)]
    # Three months later the rows are gone, and the days are not.
    before = days()
    assert retention.apply(connection, NOW + timedelta(days=100)) == 8
    assert days() == before
    assert connection.execute("select count(*) from monitoring.pipeline_log").fetchone() == (0,)


def test_metrics_are_what_prometheus_reads(connection: psycopg.Connection[Any]) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    run = {"flow_run_id": uuid4(), "flow_name": "pipeline", "stage": "pipeline", "state": "Failed", "seconds": 7.5}
    log.write(connection, [run | {"started_at": NOW}, extract(0, 41, 'or"ders\\')])
    samples = [
        sample for family in text_string_to_metric_families(prometheus.text(connection)) for sample in family.samples
    ]
    values = {(sample.name, *sorted(sample.labels.values())): sample.value for sample in samples}
    assert values["warehouse_last_run_success",] == 0 and values["warehouse_last_run_seconds",] == 7.5
    assert values["warehouse_table_rows_read", 'or"ders\\', "shop"] == 41
    assert len(values) == len(samples), "no series twice"
