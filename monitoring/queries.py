"""What alerts, checks, commands and Prometheus read of monitoring: typed rows, each query bounded in their number.

Every function takes an open connection (that of the read-only role will do) and returns plain frozen rows. Times are
UTC; `days` counts back from now; nothing here writes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, LiteralString, TypeVar

if TYPE_CHECKING:
    import psycopg

_Row = TypeVar("_Row")
# A page shows no more; who needs more asks for fewer days or one table.
MOST = 5_000


@dataclass(frozen=True, slots=True)
class Run:
    """One pipeline run, or one flow run that was started alone."""

    flow_run_id: str
    flow_name: str
    state: str
    started_at: datetime | None
    ended_at: datetime | None
    expected_at: datetime | None
    seconds: float | None
    attempt: int | None
    tables: int
    failed_tables: int
    rows_read: int
    rows_loaded: int
    rows_rejected: int
    error_class: str | None
    error_message: str | None


@dataclass(frozen=True, slots=True)
class TableDay:
    """What became of one table in one day (UTC), over all stages and runs; also of days whose log is rolled up."""

    day: date
    source: str
    table_name: str
    runs: int
    failures: int
    rows_read: int
    bytes_read: int
    rows_landed: int
    rows_loaded: int
    rows_rejected: int
    rows_rescued: int
    rows_deleted: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Freshness:
    """As of when one bronze table or mart is, against what was promised; `state` as monitoring.freshness says."""

    layer: str
    relation: str
    as_of: datetime | None
    sla_seconds: int
    state: str
    since: datetime | None
    because: str | None
    owner: str | None
    checked_at: datetime


@dataclass(frozen=True, slots=True)
class SourceFreshness:
    """How old a source of the dbt project is by its own rule; `status` is dbt's word."""

    name: str
    relation: str
    status: str
    newest: datetime | None
    warn_seconds: int | None
    error_seconds: int | None
    message: str | None
    checked_at: datetime


@dataclass(frozen=True, slots=True)
class Incident:
    """One thing that went wrong, from its first sight to its recovery."""

    id: int
    kind: str
    severity: str
    error_class: str
    subject: str
    title: str
    message: str
    owner: str
    first_step: str
    runbook: str
    first_seen: datetime
    last_seen: datetime
    seen: int
    resolved_at: datetime | None
    acknowledged_at: datetime | None
    acknowledged_by: str | None
    told_at: datetime | None


@dataclass(frozen=True, slots=True)
class Anomaly:
    """One odd day of one series, with the band in which it was expected."""

    id: str
    day: date
    measure: str
    source: str
    table_name: str
    platform: str
    account: str
    field: str
    rule: str
    value: float | None
    expected: float | None
    low: float | None
    high: float | None
    score: float | None
    message: str
    status: str


@dataclass(frozen=True, slots=True)
class Reconciled:
    """One figure at the source, in bronze and in gold; `state` is equal, about, differs or unknown."""

    day: date
    line: str
    source: str
    table_name: str
    measure: str
    source_value: Decimal | None
    bronze_value: Decimal | None
    gold_value: Decimal | None
    difference: Decimal | None
    state: str
    note: str | None
    checked_at: datetime


@dataclass(frozen=True, slots=True)
class Look:
    """When monitoring last looked, and how long it took; None of it means that it is dead or new."""

    looked_at: datetime
    seconds: float
    message: str


def runs(connection: psycopg.Connection[Any], days: int = 14, flow: str | None = "pipeline") -> list[Run]:
    """Return runs, newest first; with `flow` None those of every flow that was started alone, too."""
    return _read(
        connection,
        Run,
        """
        select r.flow_run_id::text, coalesce(r.flow_name, r.stage) as flow_name, r.state, r.started_at, r.ended_at,
            r.expected_at, r.seconds, r.attempt,
            count(distinct c.source || '.' || c.table_name)::int as tables,
            (count(distinct c.source || '.' || c.table_name)
                filter (where c.state not in ('Completed', 'Running')))::int as failed_tables,
            coalesce(sum(c.rows_read), 0)::bigint as rows_read,
            coalesce(sum(c.rows_loaded), 0)::bigint as rows_loaded,
            coalesce(max(r.rows_rejected), sum(c.rows_rejected) filter (where c.stage = 'load'), 0)::bigint
                as rows_rejected,
            r.error_class, r.error_message
        from monitoring.pipeline_log r
        left join monitoring.pipeline_log c on c.table_name is not null and c.stage in ('extract', 'load')
            and (c.parent_run_id = r.flow_run_id or c.flow_run_id = r.flow_run_id)
        where r.table_name is null and r.parent_run_id is null
            and coalesce(r.started_at, r.expected_at) > now() - make_interval(days => %(days)s)
            and (%(flow)s::text is null or r.flow_name = %(flow)s)
        group by r.id
        order by coalesce(r.started_at, r.expected_at) desc
        limit %(most)s
        """,
        {"days": days, "flow": flow},
    )


def throughput(connection: psycopg.Connection[Any], days: int = 14) -> list[TableDay]:
    """Return each table's days, oldest first."""
    return _read(
        connection,
        TableDay,
        """
        select day, source, table_name,
            greatest(sum(runs) filter (where stage = 'extract'), sum(runs) filter (where stage = 'load'))::int as runs,
            sum(failures)::int as failures,
            coalesce(sum(rows_read) filter (where stage = 'extract'), 0)::bigint as rows_read,
            coalesce(sum(bytes_read) filter (where stage = 'extract'), 0)::bigint as bytes_read,
            coalesce(sum(rows_landed) filter (where stage = 'extract'), 0)::bigint as rows_landed,
            coalesce(sum(rows_loaded), 0)::bigint as rows_loaded,
            coalesce(sum(rows_rejected) filter (where stage = 'load'),
                sum(rows_rejected) filter (where stage = 'extract'), 0)::bigint as rows_rejected,
            coalesce(sum(rows_rescued), 0)::bigint as rows_rescued,
            coalesce(sum(rows_deleted), 0)::bigint as rows_deleted,
            coalesce(sum(seconds), 0)::float8 as seconds
        from monitoring.days
        where stage in ('extract', 'load') and table_name <> '' and day > (now() at time zone 'UTC')::date - %(days)s
        group by day, source, table_name
        order by day, source, table_name
        limit %(most)s
        """,
        {"days": days},
    )


def freshness(connection: psycopg.Connection[Any], layer: str | None = None) -> list[Freshness]:
    """Return as of when each table and mart is, stale ones first; `layer` is bronze or gold."""
    return _read(
        connection,
        Freshness,
        """
        select layer, relation, as_of, sla_seconds, state, since, because, owner, checked_at
        from monitoring.freshness_now
        where %(layer)s::text is null or layer = %(layer)s
        order by state = 'fresh', layer desc, since nulls last, relation
        limit %(most)s
        """,
        {"layer": layer},
    )


def source_freshness(connection: psycopg.Connection[Any]) -> list[SourceFreshness]:
    """Return the sources that are in the warehouse and have a rule in dbt, the worst first."""
    return _read(
        connection,
        SourceFreshness,
        """
        select s.name, s.relation, s.status, s.newest, s.warn_seconds, s.error_seconds, s.message,
            s.checked_at
        from monitoring.source_freshness s
        where s.status is not null
        order by s.status = 'pass', s.status = 'warn', s.name
        limit %(most)s
        """,
        {},
    )


def incidents(connection: psycopg.Connection[Any], days: int = 14, open_only: bool = False) -> list[Incident]:
    """Return incidents, open ones first, then the newest."""
    return _read(
        connection,
        Incident,
        """
        select id, kind, severity, error_class, subject, title, message, owner, first_step, runbook, first_seen,
            last_seen, seen, resolved_at, acknowledged_at, acknowledged_by, told_at
        from monitoring.incidents
        where resolved_at is null
            or (not %(open_only)s and last_seen > now() - make_interval(days => %(days)s))
        order by resolved_at is not null, severity = 'high' desc, first_seen desc
        limit %(most)s
        """,
        {"days": days, "open_only": open_only},
    )


def anomalies(connection: psycopg.Connection[Any], days: int = 14, status: str | None = None) -> list[Anomaly]:
    """Return what the anomaly rules found, newest first; `status` is open, confirmed or dismissed."""
    return _read(
        connection,
        Anomaly,
        """
        select id::text, day, measure, source, table_name, platform, account, field, rule, value, expected, low, high,
            score, message, status
        from monitoring.anomalies
        where day > (now() at time zone 'UTC')::date - %(days)s
            and (%(status)s::text is null or status = %(status)s)
        order by day desc, abs(score) desc nulls last, id
        limit %(most)s
        """,
        {"days": days, "status": status},
    )


def reconciliation(connection: psycopg.Connection[Any], days: int = 1) -> list[Reconciled]:
    """Return the newest comparison of each line within some days, differing ones first."""
    return _read(
        connection,
        Reconciled,
        """
        select * from (
            select distinct on (line) day, line, source, table_name, measure, source_value, bronze_value, gold_value,
                difference, state, note, checked_at
            from monitoring.reconciliation
            where day > (now() at time zone 'UTC')::date - %(days)s
            order by line, day desc
        ) newest
        order by state = 'equal', line
        limit %(most)s
        """,
        {"days": days},
    )


def last_look(connection: psycopg.Connection[Any]) -> Look | None:
    """Return when monitoring last looked; its silence is only good news while this is recent."""
    found = _read(connection, Look, "select looked_at, seconds, message from monitoring.looks limit %(most)s", {})
    return found[0] if found else None


def _read(
    connection: psycopg.Connection[Any], kind: type[_Row], query: LiteralString, parameters: dict[str, Any]
) -> list[_Row]:
    """Return the rows of a query as `kind`."""
    cursor = connection.execute(query, {**parameters, "most": MOST})
    names = [column.name for column in cursor.description or ()]
    return [kind(**dict(zip(names, row, strict=True))) for row in cursor]
