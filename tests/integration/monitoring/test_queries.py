"""Each query of monitoring on a real warehouse: known rows give known figures, an empty warehouse gives nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg

from monitoring import log, queries

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
