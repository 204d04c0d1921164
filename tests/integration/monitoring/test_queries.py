"""Each query of monitoring on a real warehouse: known rows give known figures, an empty warehouse gives nothing."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg

from monitoring import incidents, log, queries
from monitoring.pages.panels import on_page, run
from monitoring.read import build_report

NOW = datetime.now(UTC)


def row(run: str, stage: str, table: str | None = None, days: float = 0, **more: Any) -> dict[str, Any]:
    began = NOW - timedelta(days=days, minutes=1)
    place = {"source": "shop", "table_name": table} if table else {}
    parent = {} if stage == "pipeline" else {"parent_run_id": run}
    return {
        "flow_run_id": run if stage == "pipeline" else uuid4(),
        "flow_name": stage,
        "stage": stage,
        "state": "Completed",
        "started_at": began,
        "seconds": 2.0,
        **place,
        **parent,
        **more,
    }


def test_an_empty_warehouse_has_nothing_to_show(connection: psycopg.Connection[Any]) -> None:
    panels = (
        queries.runs,
        queries.throughput,
        queries.freshness,
        queries.source_freshness,
        queries.incidents,
        queries.anomalies,
        queries.reconciliation,
    )
    assert [panel(connection) for panel in panels] == [[]] * len(panels)
    assert queries.last_look(connection) is None


def test_figures_of_runs_tables_and_stages(connection: psycopg.Connection[Any]) -> None:
    first, second = str(uuid4()), str(uuid4())
    log.write(
        connection,
        [
            row(first, "pipeline", days=2, seconds=100.0),
            row(first, "extract", "orders", days=2, rows_read=50, rows_landed=50, bytes_read=500, seconds=4.0),
            row(first, "load", "orders", days=2, rows_landed=50, rows_loaded=40, rows_rejected=3, seconds=6.0),
            row(second, "pipeline", state="Failed", error_class="auth", error_message="refused", seconds=10.0),
            row(second, "extract", "orders", rows_read=10, rows_landed=10, seconds=8.0, cpu_seconds=1.5),
            row(second, "extract", "tags", state="Failed", error_class="auth", error_message="refused"),
        ],
    )
    newest, oldest = queries.runs(connection)
    assert (newest.flow_run_id, newest.state, newest.tables, newest.failed_tables) == (second, "Failed", 2, 1)
    assert (oldest.rows_read, oldest.rows_loaded, oldest.rows_rejected, oldest.seconds) == (50, 40, 3, 100.0)
    days = [day for day in queries.throughput(connection) if day.table_name == "orders"]
    assert [(day.rows_read, day.rows_landed, day.rows_loaded, day.rows_rejected, day.seconds) for day in days] == [
        (50, 50, 40, 3, 10.0),
        (10, 10, 0, 0, 8.0),
    ]
    assert [(day.bytes_read, day.runs, day.failures) for day in days] == [(500, 1, 0), (0, 1, 0)]


def test_a_promise_that_is_broken_since_the_last_look_is_told(connection: psycopg.Connection[Any]) -> None:
    old, young = NOW - timedelta(hours=30), NOW - timedelta(hours=1)
    for relation, as_of in (("gold.old", old), ("gold.young", young)):
        connection.execute(
            "insert into monitoring.freshness (layer, relation, as_of, sla_seconds, state, checked_at) "
            "values ('gold', %s, %s, 26 * 3600, 'fresh', %s)",
            [relation, as_of, old],
        )
    log.write(connection, [newest := row(str(uuid4()), "pipeline")])
    found = {one.relation: (one.state, one.since, one.because) for one in queries.freshness(connection)}
    assert found == {
        "gold.old": ("stale", old + timedelta(hours=26), "no run since then"),
        "gold.young": ("fresh", None, None),
    }
    report = build_report(connection, newest["flow_run_id"])
    assert report is not None
    assert (
        report.headline.startswith("Not as fresh as promised")
        and "1 of 2 mart(s) not up to date: old" in report.headline
    )


def test_each_failure_is_told_once_by_what_tells_the_reason(connection: psycopg.Connection[Any]) -> None:
    killed, crashed, told = (str(uuid4()) for _ in range(3))
    flow = str(uuid4())
    bad = {"state": "Failed", "error_class": "auth", "error_message": "refused\nmore"}
    log.write(
        connection,
        [
            row(killed, "pipeline", state="Crashed", error_class="cancelled", error_message="it was killed"),
            row(crashed, "pipeline", state="Failed", error_class="resource", error_message="1 step failed"),
            row(crashed, "extract", state="Crashed", error_class="resource", error_message="out of memory"),
            row(told, "pipeline", **bad),
            row(told, "load", flow_run_id=flow, **bad),
            row(told, "load", "orders", flow_run_id=flow, **bad),
            row(told, "load", "tags", flow_run_id=flow),
        ],
    )
    found = connection.execute("select name, error_class, error from monitoring.failures order by 1").fetchall()
    assert found == [
        ("extract", "resource", "out of memory"),
        ("orders", "auth", "refused"),
        ("pipeline", "cancelled", "it was killed"),
    ]


def glance(connection: psycopg.Connection[Any]) -> dict[str, tuple[str, str]]:
    (panel,) = (one for one in on_page("today") if one.name == "glance")
    result = run(connection, panel, {})
    assert not result.problem
    return {
        one["what"]: (one["state"], re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d", "...", one["found"])) for one in result.rows
    }


def test_what_the_first_cards_of_the_dashboard_say(connection: psycopg.Connection[Any]) -> None:
    assert glance(connection) == {
        "Gold": ("unknown", "0 of 0 marts up to date"),
        "Incidents": ("ok", "0 open, 0 not taken"),
        "Monitoring": ("unknown", "has not looked yet"),
    }
    connection.execute(
        "insert into monitoring.freshness (layer, relation, as_of, sla_seconds, state, checked_at) "
        "select 'gold', 'gold.' || name, now() - age::interval, 3600, 'fresh', now() "
        "from (values ('a', '0'), ('b', '2 hours')) as marts (name, age)"
    )
    log.write(connection, [row(str(uuid4()), "pipeline", state="Failed"), row(str(uuid4()), "pipeline", days=1)])
    log.note_look(connection, "", 1, [])
    incidents.record(connection, [incidents.Problem("failure", "extract shop.a", "auth", "refused")], NOW)
    assert glance(connection) == {
        "Gold": ("stale", "1 of 2 marts up to date, the oldest as of ..."),
        "Incidents": ("failed", "1 open, 1 not taken, the oldest since ..."),
        "The last run": ("failed", "failed, began ..."),
        "Monitoring": ("ok", "looked last at ..."),
    }
