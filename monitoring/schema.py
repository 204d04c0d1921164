"""The tables of the schema `monitoring`: what each holds, and how an older warehouse gets what is new."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psycopg

# Name to Postgres type. Only append: older rows must stay readable.
COLUMNS: dict[str, str] = {
    "id": "uuid",
    "flow_run_id": "uuid",
    "parent_run_id": "uuid",
    "flow_name": "text",
    "stage": "text",
    "source": "text",
    "table_name": "text",
    "state": "text",
    "started_at": "timestamptz",
    "ended_at": "timestamptz",
    "seconds": "double precision",
    "rows_read": "bigint",
    "bytes_read": "bigint",
    "rows_landed": "bigint",
    "rows_loaded": "bigint",
    "rows_unchanged": "bigint",
    "rows_rejected": "bigint",
    "rows_rescued": "bigint",
    "rows_deleted": "bigint",
    "rows_per_second": "double precision",
    "window_from": "text",
    "window_to": "text",
    "batch_id": "text",
    "schema_changes": "bigint",
    "attempt": "integer",
    "pod": "text",
    "peak_memory_bytes": "bigint",
    "cpu_seconds": "double precision",
    "error_class": "text",
    "error_message": "text",
    "artifact_key": "text",
    "expected_at": "timestamptz",
    "process": "text",
}
"""Columns of monitoring.pipeline_log; `process` is host and process id of a run that no worker watches over."""

# Serialises the creation of the tables between flows that start together.
_DDL_LOCK = 0x7761_7265_6C6F_67
# The newest thing below: where it is, everything is. Change it with every change of `_CREATE`.
_NEWEST = "monitoring.reconciliation_checked"

_CREATE = f"""
create schema if not exists monitoring;

create table if not exists monitoring.pipeline_log (
    {", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())},
    logged_at timestamptz not null default now(),
    primary key (id)
);
alter table monitoring.pipeline_log add column if not exists expected_at timestamptz;
alter table monitoring.pipeline_log add column if not exists process text;
create index if not exists pipeline_log_run on monitoring.pipeline_log (parent_run_id, flow_run_id);
create index if not exists pipeline_log_flow_run on monitoring.pipeline_log (flow_run_id);
create index if not exists pipeline_log_table on monitoring.pipeline_log (source, table_name, started_at);
create index if not exists pipeline_log_started on monitoring.pipeline_log (started_at);
comment on table monitoring.pipeline_log is
    'One row per flow run, and per table or dbt node in it: what it did, how fast, and why it failed.';

create table if not exists monitoring.models_built (
    source text not null,
    table_name text not null,
    built_at timestamptz not null,
    primary key (source, table_name)
);
comment on table monitoring.models_built is
    'Per bronze table, the moment up to which its loads are known to be in the dbt models above it.';

create table if not exists monitoring.pipeline_daily (
    day date not null,
    stage text not null,
    source text not null,
    table_name text not null,
    runs integer not null,
    failures integer not null,
    rows_read bigint,
    bytes_read bigint,
    rows_landed bigint,
    rows_loaded bigint,
    rows_rejected bigint,
    rows_rescued bigint,
    rows_deleted bigint,
    seconds double precision,
    seconds_p50 double precision,
    seconds_p95 double precision,
    cpu_seconds double precision,
    peak_memory_bytes bigint,
    primary key (day, stage, source, table_name)
);
comment on table monitoring.pipeline_daily is
    'pipeline_log by day (UTC) and table, kept when the rows it sums up are removed. Empty names: the run itself.';

create table if not exists monitoring.lineage (
    node text not null,
    relation text not null,
    layer text not null,
    owner text,
    sla_seconds bigint,
    parents text[] not null,
    sources text[] not null,
    models_below text[] not null,
    updated_at timestamptz not null default now(),
    primary key (node)
);
comment on table monitoring.lineage is
    'One row per dbt model, snapshot and seed as of the last dbt run: the tables (source.table) that it is made of.';

create table if not exists monitoring.freshness (
    layer text not null,
    relation text not null,
    as_of timestamptz,
    sla_seconds bigint not null,
    state text not null,
    since timestamptz,
    because text,
    owner text,
    checked_at timestamptz not null default now(),
    primary key (layer, relation)
);
comment on table monitoring.freshness is
    'One row per bronze table and mart: as of when its data is (as_of), what was promised, stale since when and why.';

create table if not exists monitoring.measures (
    day date not null,
    measure text not null,
    source text not null,
    table_name text not null,
    platform text not null default '',
    account text not null default '',
    field text not null default '',
    value double precision not null,
    final boolean not null default true,
    primary key (measure, source, table_name, platform, account, field, day)
);
comment on table monitoring.measures is
    'Daily figures that the anomaly rules look at; not final while the day goes on.';

create table if not exists monitoring.anomalies (
    id uuid primary key,
    day date not null,
    measure text not null,
    source text not null,
    table_name text not null,
    platform text not null default '',
    account text not null default '',
    field text not null default '',
    rule text not null,
    value double precision,
    expected double precision,
    low double precision,
    high double precision,
    score double precision,
    message text not null,
    status text not null default 'open',
    first_seen timestamptz not null default now(),
    last_seen timestamptz not null default now()
);
create index if not exists anomalies_day on monitoring.anomalies (day);
comment on table monitoring.anomalies is
    'One row per day and series that a rule found odd: open, confirmed (left out of later baselines) or dismissed.';

create table if not exists monitoring.reconciliation (
    day date not null,
    line text not null,
    source text not null,
    table_name text not null,
    measure text not null,
    source_value numeric,
    bronze_value numeric,
    gold_value numeric,
    difference numeric,
    state text not null,
    note text,
    checked_at timestamptz not null default now(),
    primary key (day, line)
);
create index if not exists reconciliation_checked on monitoring.reconciliation (checked_at);
comment on table monitoring.reconciliation is
    'One row per day and line: the same figure at the source, in bronze and in gold, and whether they agree.';

create table if not exists monitoring.incidents (
    id bigint generated always as identity primary key,
    fingerprint text not null,
    kind text not null,
    severity text not null,
    error_class text not null,
    subject text not null,
    title text not null,
    message text not null,
    owner text not null,
    first_step text not null,
    runbook text not null,
    first_seen timestamptz not null,
    last_seen timestamptz not null,
    seen integer not null default 1,
    resolved_at timestamptz,
    acknowledged_at timestamptz,
    acknowledged_by text,
    told_at timestamptz,
    escalated_at timestamptz,
    recovery_told_at timestamptz
);
create unique index if not exists incidents_open on monitoring.incidents (fingerprint) where resolved_at is null;
create index if not exists incidents_seen on monitoring.incidents (last_seen);
comment on table monitoring.incidents is
    'One row per thing that went wrong, from the first time it was seen until it was well again, and who was told.';

create table if not exists monitoring.looks (
    id boolean primary key default true check (id),
    looked_at timestamptz not null,
    seconds double precision not null,
    message text not null
);
comment on table monitoring.looks is 'One row: when monitoring last looked at everything, and how long it took.';
"""


def ensure(connection: psycopg.Connection[Any]) -> None:
    """Create the monitoring tables where they are missing, and commit."""
    with connection.transaction():
        present = connection.execute("select to_regclass(%s)", [_NEWEST]).fetchone()
        if present is None or present[0] is None:
            connection.execute("select pg_advisory_xact_lock(%s)", (_DDL_LOCK,))
            connection.execute(_CREATE)
