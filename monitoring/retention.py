"""What monitoring keeps: the log by row for some weeks, by day for ever, findings for some months."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from monitoring.measures import KEEP_DAYS

if TYPE_CHECKING:
    import psycopg

LOG_DAYS = 90
"""Rows of pipeline_log: a quarter, so that the 95th percentile of a monthly run is still three runs."""
FINDING_DAYS = 400
_BAD = ("Failed", "Crashed", "TimedOut", "Cancelled", "Cancelling", "Missing", "Late", "Lost")


def apply(connection: psycopg.Connection[Any], now: datetime) -> int:
    """Sum up the days that are over, remove what is old, and return how many rows of the log went.

    A day is summed up anew whenever rows of it are logged, until its rows are removed; what comes later is added to it.
    All is one transaction, so that no row counts twice or never.
    """
    until = (now - timedelta(days=LOG_DAYS)).replace(hour=0, minute=0, second=0, microsecond=0)
    with connection.transaction():
        if days := _changed_days(connection, until.date(), now.date()):
            _sum_up(connection, days, until.date())
        gone = connection.execute(
            "delete from monitoring.pipeline_log where coalesce(started_at, expected_at, logged_at) < %s", [until]
        ).rowcount
        findings, measures = now - timedelta(days=FINDING_DAYS), now - timedelta(days=KEEP_DAYS)
        connection.execute("delete from monitoring.anomalies where day < %s", [findings.date()])
        connection.execute("delete from monitoring.reconciliation where day < %s", [findings.date()])
        connection.execute("delete from monitoring.incidents where resolved_at < %s", [findings])
        connection.execute("delete from monitoring.measures where day < %s", [measures.date()])
    return gone


def _changed_days(connection: psycopg.Connection[Any], until: date, today: date) -> list[date]:
    """Return the days before today of which rows were logged since the last look, or are about to be removed."""
    rows = connection.execute(
        """
        select distinct day from (
            select (coalesce(started_at, expected_at, logged_at) at time zone 'UTC')::date as day
            from monitoring.pipeline_log
            where logged_at >= (select coalesce(max(rolled_up_at), '-infinity') from monitoring.pipeline_daily)
            union all
            select (coalesce(started_at, expected_at, logged_at) at time zone 'UTC')::date
            from monitoring.pipeline_log
            where coalesce(started_at, expected_at, logged_at) < %(until)s::timestamp at time zone 'UTC'
        ) logged
        where day < %(today)s
        """,
        {"until": until, "today": today},
    ).fetchall()
    return [day for (day,) in rows]


def _sum_up(connection: psycopg.Connection[Any], days: Sequence[date], until: date) -> None:
    """Write the sums of some days anew; those of a day whose rows were removed before are added to."""
    connection.execute("delete from monitoring.pipeline_daily where day = any(%s) and not closed", [days])
    connection.execute(
        """
        insert into monitoring.pipeline_daily as d (day, stage, source, table_name, runs, failures, rows_read,
            bytes_read, rows_landed, rows_loaded, rows_rejected, rows_rescued, rows_deleted,
            rows_unchanged, seconds, seconds_p50, seconds_p95, cpu_seconds, peak_memory_bytes, closed)
        select (coalesce(started_at, expected_at, logged_at) at time zone 'UTC')::date as day, stage,
            coalesce(source, ''), coalesce(table_name, ''), count(*), count(*) filter (where state = any(%(bad)s)),
            sum(rows_read), sum(bytes_read), sum(rows_landed), sum(rows_loaded), sum(rows_rejected), sum(rows_rescued),
            sum(rows_deleted), sum(rows_unchanged), sum(seconds), percentile_cont(0.5) within group (order by seconds),
            percentile_cont(0.95) within group (order by seconds), sum(cpu_seconds), max(peak_memory_bytes),
            (coalesce(started_at, expected_at, logged_at) at time zone 'UTC')::date < %(until)s
        from monitoring.pipeline_log
        where (coalesce(started_at, expected_at, logged_at) at time zone 'UTC')::date = any(%(days)s)
            and coalesce(started_at, expected_at, logged_at) >= %(first)s::timestamp at time zone 'UTC'
            and coalesce(started_at, expected_at, logged_at) < %(last)s::timestamp at time zone 'UTC' + interval '1 day'
        group by 1, 2, 3, 4
        on conflict (day, stage, source, table_name) do update set
            runs = d.runs + excluded.runs,
            failures = d.failures + excluded.failures,
            rows_read = coalesce(d.rows_read, 0) + coalesce(excluded.rows_read, 0),
            bytes_read = coalesce(d.bytes_read, 0) + coalesce(excluded.bytes_read, 0),
            rows_landed = coalesce(d.rows_landed, 0) + coalesce(excluded.rows_landed, 0),
            rows_loaded = coalesce(d.rows_loaded, 0) + coalesce(excluded.rows_loaded, 0),
            rows_rejected = coalesce(d.rows_rejected, 0) + coalesce(excluded.rows_rejected, 0),
            rows_rescued = coalesce(d.rows_rescued, 0) + coalesce(excluded.rows_rescued, 0),
            rows_deleted = coalesce(d.rows_deleted, 0) + coalesce(excluded.rows_deleted, 0),
            rows_unchanged = coalesce(d.rows_unchanged, 0) + coalesce(excluded.rows_unchanged, 0),
            seconds = coalesce(d.seconds, 0) + coalesce(excluded.seconds, 0),
            cpu_seconds = coalesce(d.cpu_seconds, 0) + coalesce(excluded.cpu_seconds, 0),
            peak_memory_bytes = greatest(d.peak_memory_bytes, excluded.peak_memory_bytes)
        """,
        {"bad": list(_BAD), "days": list(days), "first": min(days), "last": max(days), "until": until},
    )
