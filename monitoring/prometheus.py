"""Prometheus metrics of the last runs, as text: `warehouse metrics`, for a text file collector or a push gateway."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from monitoring import queries

if TYPE_CHECKING:
    import psycopg


def text(connection: psycopg.Connection[Any], now: datetime | None = None) -> str:
    """Return the metrics in Prometheus' text format; each series once, as Prometheus drops repeated ones.

    Args:
        connection: A connection to the warehouse.
        now: The time; default is the clock.
    """
    return "\n".join(_lines(connection, now or datetime.now(UTC))) + "\n"


def _lines(connection: psycopg.Connection[Any], now: datetime) -> Iterator[str]:
    runs = [run for run in queries.runs(connection, days=7) if run.started_at is not None][:1]
    yield from _family("warehouse_last_run_success", "Whether the last pipeline run completed.")
    yield from (_sample("warehouse_last_run_success", {}, run.state == "Completed") for run in runs)
    yield from _family("warehouse_last_run_seconds", "Seconds that the last pipeline run took.")
    yield from (_sample("warehouse_last_run_seconds", {}, run.seconds) for run in runs if run.seconds is not None)
    yield from _family("warehouse_last_run_start_time_seconds", "When the last pipeline run began, in Unix time.")
    yield from (
        _sample("warehouse_last_run_start_time_seconds", {}, run.started_at.timestamp())
        for run in runs
        if run.started_at
    )
    yield from _tables(connection)
    verdicts = queries.freshness(connection)
    yield from _family("warehouse_data_age_seconds", "Age of the data of a table or mart.")
    for row in verdicts:
        if row.as_of is not None:
            labels = {"layer": row.layer, "relation": row.relation}
            yield _sample("warehouse_data_age_seconds", labels, (now - row.as_of).total_seconds())
    yield from _family("warehouse_stale", "Whether a table or mart is older than promised, or was never built.")
    for row in verdicts:
        yield _sample(
            "warehouse_stale", {"layer": row.layer, "relation": row.relation}, row.state in ("stale", "never")
        )
    open_ = queries.incidents(connection, open_only=True)
    yield from _family("warehouse_open_incidents", "Open incidents by severity.")
    for severity in ("high", "low"):
        found = sum(one.severity == severity for one in open_)
        yield _sample("warehouse_open_incidents", {"severity": severity}, found)
    yield from _family("warehouse_monitoring_last_look_time_seconds", "When monitoring last looked, in Unix time.")
    if look := queries.last_look(connection):
        yield _sample("warehouse_monitoring_last_look_time_seconds", {}, look.looked_at.timestamp())


def _tables(connection: psycopg.Connection[Any]) -> Iterator[str]:
    """Yield the figures of the last day on which each table was moved."""
    last = {(day.source, day.table_name): day for day in queries.throughput(connection, days=7)}
    families = {
        "rows_read": "Rows read of a table on its last day (UTC).",
        "rows_loaded": "Rows of a table that changed in bronze on its last day (UTC).",
        "rows_rejected": "Rows of a table that were rejected on its last day (UTC).",
        "bytes_read": "Bytes read of a table on its last day (UTC).",
        "failures": "Failures of a table on its last day (UTC).",
        "seconds": "Seconds spent on a table on its last day (UTC).",
    }
    for name, says in families.items():
        yield from _family(f"warehouse_table_{name}", says)
        for (source, table), day in last.items():
            yield _sample(f"warehouse_table_{name}", {"source": source, "table": table}, getattr(day, name))


def _family(name: str, says: str) -> Iterator[str]:
    yield f"# HELP {name} {says}"
    yield f"# TYPE {name} gauge"


def _sample(name: str, labels: dict[str, str], value: float | bool) -> str:
    inner = ",".join(f'{key}="{_escape(text)}"' for key, text in labels.items())
    return f"{name}{{{inner}}} {float(value):.17g}" if inner else f"{name} {float(value):.17g}"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
