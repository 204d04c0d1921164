"""The versions of the control tables and of the log: forward only, each applied once, in this order."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql

# Any number, the same in every process: only one of them migrates at a time.
_LOCK = 5_064_201_101
# The models try casts with this function: Postgres has one of its own since 16, which is then used without any cost.
INPUT_IS_VALID = """
    create function ops.input_is_valid(value text, type_name text) returns boolean language sql stable
        as 'select pg_input_is_valid($1, $2)'
"""
INPUT_IS_VALID_BEFORE_16 = """
    create function ops.input_is_valid(value text, type_name text) returns boolean language plpgsql stable strict
    as $body$ begin
        execute format('select %L::%s', value, type_name);
        return true;
    exception when data_exception then
        return false;
    end $body$
"""
# Append only: a version that is applied somewhere never changes.
MIGRATIONS: tuple[str, ...] = (
    """
    create table ops.checkpoints (
        source text not null,
        table_name text not null,
        mode text not null,
        state jsonb not null,
        batch_id text,
        version bigint not null,
        updated_at timestamptz not null default now(),
        flow_run_id text,
        rewound_at timestamptz,
        primary key (source, table_name)
    );
    comment on table ops.checkpoints is
        'One row per table: how far it is loaded. Committed together with the rows it stands for.';
    create table ops.checkpoint_history (
        id bigint generated always as identity primary key,
        source text not null,
        table_name text not null,
        version bigint not null,
        state jsonb not null,
        batch_id text,
        cause text not null,
        updated_at timestamptz not null default now(),
        flow_run_id text
    );
    create index on ops.checkpoint_history (source, table_name, version);
    comment on table ops.checkpoint_history is 'Every value a checkpoint has had, and who set it.';
    create table ops.tables (
        source text not null,
        table_name text not null,
        child text not null default '',
        relation text not null unique,
        created_at timestamptz not null default now(),
        primary key (source, table_name, child)
    );
    comment on table ops.tables is 'Which bronze relation holds which table, array (child) or history.';
    create table ops.columns (
        source text not null,
        table_name text not null,
        child text not null default '',
        path text not null,
        column_name text not null,
        kind text not null,
        pg_type text not null,
        stored boolean not null,
        first_batch text not null,
        position integer not null,
        vanished_batch text,
        created_at timestamptz not null default now(),
        primary key (source, table_name, child, path),
        unique (source, table_name, child, column_name)
    );
    comment on table ops.columns is
        'The name map: the column of each document path, stable for ever. Not stored: its values live in _rescued.';
    create table ops.batches (
        source text not null,
        table_name text not null,
        batch_id text not null,
        status text not null,
        mode text not null,
        scope jsonb not null,
        rows_landed bigint not null,
        rows_inserted bigint not null default 0,
        rows_updated bigint not null default 0,
        rows_unchanged bigint not null default 0,
        rows_deleted bigint not null default 0,
        rows_rejected bigint not null default 0,
        rows_rescued bigint not null default 0,
        child_rows bigint not null default 0,
        schema_changes integer not null default 0,
        bytes bigint not null,
        window_read jsonb,
        previous_checkpoint jsonb,
        fingerprint text,
        plan text,
        extracted_at timestamptz not null,
        loaded_at timestamptz not null,
        seconds double precision not null,
        flow_run_id text,
        primary key (source, table_name, batch_id)
    );
    comment on table ops.batches is 'Every batch that was loaded; a batch in here is never loaded again.';
    create table ops.schema_changes (
        id bigint generated always as identity primary key,
        source text not null,
        table_name text not null,
        field text not null,
        change text not null,
        old_type text,
        new_type text,
        batch_id text not null,
        seen_at timestamptz not null default now(),
        action text not null,
        evidence jsonb not null default '{}'
    );
    create index on ops.schema_changes (source, table_name, field);
    comment on table ops.schema_changes is
        'The ledger of drift: fields that appeared, widened, changed type, vanished or were probably renamed.';
    create table ops.rejects (
        id bigint generated always as identity primary key,
        source text not null,
        table_name text not null,
        batch_id text not null,
        stage text not null,
        document_id text,
        path text,
        reason text not null,
        document text,
        bytes bytea,
        seen_at timestamptz not null default now(),
        replayed_at timestamptz,
        outcome text
    );
    create index on ops.rejects (source, table_name, batch_id);
    comment on table ops.rejects is
        'Documents and rows that could not be loaded, whole: extended JSON in document, the original in bytes.';
    create table ops.field_statistics (
        source text not null,
        table_name text not null,
        child text not null default '',
        path text not null,
        batch_id text not null,
        row_count bigint not null,
        present bigint not null,
        null_count bigint not null,
        empty_count bigint not null,
        types jsonb not null,
        extracted_at timestamptz not null,
        primary key (source, table_name, batch_id, child, path)
    );
    comment on table ops.field_statistics is
        'How often each field was present, null and empty in each batch, and as which BSON types.';
    """,
    """
    alter table ops.field_statistics
        add column rescued bigint not null default 0,
        add column sanitised bigint not null default 0;
    comment on column ops.field_statistics.rescued is
        'Values that did not fit their column and are in _rescued alone, of the rows that were loaded.';
    comment on column ops.field_statistics.sanitised is
        'Values that Postgres holds in another form only (a NUL, an exponent); the original is in _rescued.';
    """,
    f"""
    do $choose$ begin
        if current_setting('server_version_num')::integer >= 160000 then {INPUT_IS_VALID};
        else {INPUT_IS_VALID_BEFORE_16};
        end if;
        comment on function ops.input_is_valid is
            'Whether a text can be read as a type; on a server older than 16 by trying, which is slower.';
    end $choose$;
    """,
    """
    alter table ops.columns drop constraint columns_pkey;
    alter table ops.columns add primary key (source, table_name, child, path, column_name);
    comment on table ops.columns is
        'The name map: the column of each document path, stable for ever. Not stored: its values live in _rescued. '
        'Where a path has several, the first by position is its own, the others take what those before them cannot.';
    """,
    """
    create schema if not exists monitoring;
    create table if not exists monitoring.pipeline_log (
        id uuid,
        flow_run_id uuid,
        parent_run_id uuid,
        flow_name text,
        stage text,
        source text,
        table_name text,
        state text,
        started_at timestamptz,
        ended_at timestamptz,
        seconds double precision,
        rows_read bigint,
        bytes_read bigint,
        rows_landed bigint,
        rows_loaded bigint,
        rows_unchanged bigint,
        rows_rejected bigint,
        rows_rescued bigint,
        rows_deleted bigint,
        rows_per_second double precision,
        window_from text,
        window_to text,
        batch_id text,
        schema_changes bigint,
        attempt integer,
        pod text,
        peak_memory_bytes bigint,
        cpu_seconds double precision,
        error_class text,
        error_message text,
        artifact_key text,
        expected_at timestamptz,
        process text,
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
        'One row per dbt model, snapshot and seed as of the last dbt run: the tables (source.table) it is made of.';
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
        'One row per bronze table and mart: as of when its data is, what was promised, stale since when and why.';
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
    create table ops.models_built (
        source text not null,
        table_name text not null,
        built_at timestamptz not null,
        primary key (source, table_name)
    );
    comment on table ops.models_built is
        'Per bronze table, the moment up to which its loads are known to be in the dbt models above it.';
    do $move$ begin
        if to_regclass('monitoring.models_built') is not null then
            insert into ops.models_built select source, table_name, built_at from monitoring.models_built;
            drop table monitoring.models_built;
        end if;
    end $move$;
    """,
    """
    create view ops.bronze_columns as
        select t.relation, c.path, c.column_name, c.pg_type as data_type,
            row_number() over (partition by t.relation, c.path order by c.position) as place
        from ops.tables t join ops.columns c on c.source = t.source and c.table_name = t.table_name
            and c.child = case t.child when '$history' then '' else t.child end
        where c.stored;
    comment on view ops.bronze_columns is
        'The columns of each bronze relation by document path, for models and people. Where a path has several, a row '
        'fills one of them at most: place 1 is the path''s own, the next ones take what those before them cannot.';
    """,
    """
    create table ops.pulls (
        source text not null,
        table_name text not null,
        account text not null,
        day date,
        pulled_at timestamptz not null,
        batch_id text not null,
        row_count bigint not null,
        final boolean not null,
        totals jsonb not null
    );
    create unique index on ops.pulls (source, table_name, account, coalesce(day, '-infinity'), batch_id);
    comment on table ops.pulls is
        'What each pull of a day of an account held: rows and sums. No day: all rows of the account.';
    create view ops.account_days as
        select distinct on (source, table_name, account, day) source, table_name, account, day, row_count, totals,
            case when final then 'final' else 'provisional' end as status, pulled_at, batch_id,
            min(pulled_at) filter (where final) over (partition by source, table_name, account, day) as final_since
        from ops.pulls order by source, table_name, account, day, pulled_at desc;
    comment on view ops.account_days is
        'The last pull of each day of an account: provisional while the service may still change it, else final.';
    create view ops.restatements as
        select * from (
            select source, table_name, account, day, pulled_at, batch_id, row_count, totals,
                lag(row_count) over pulls as rows_before, lag(totals) over pulls as totals_before,
                lag(pulled_at) over pulls as pulled_before
            from ops.pulls window pulls as (partition by source, table_name, account, day order by pulled_at)
        ) p where pulled_before is not null and (row_count, totals) is distinct from (rows_before, totals_before);
    comment on view ops.restatements is 'Days that a pull changed: rows and sums before and after.';
    """,
    """
    create table ops.dbt_projects (
        checksum text primary key,
        graph jsonb not null,
        parsed_at timestamptz not null default now()
    );
    comment on table ops.dbt_projects is
        'Parsed dbt projects: what each node reads, so that a run knows without dbt whether it has to build.';
    create table ops.dbt_nodes (
        node text primary key,
        relation text not null,
        fingerprint text not null,
        holds_until timestamptz not null,
        built_at timestamptz not null
    );
    comment on table ops.dbt_nodes is
        'The models that readers see: of which version of its SQL, and up to which moment it holds what was loaded.';
    """,
    """
    alter table monitoring.looks add column told integer;
    comment on column monitoring.looks.told is 'How many notification blocks hear of what goes wrong.';
    alter table monitoring.lineage drop column models_below;
    """,
    """
    create table ops.waits (
        source text primary key,
        until timestamptz not null,
        said text not null,
        noted_at timestamptz not null default now()
    );
    comment on table ops.waits is 'Until when a source gives nothing, as its quota is used up, and what it said.';
    """,
    """
    alter table monitoring.pipeline_log add column if not exists rows_warned bigint;
    comment on column monitoring.pipeline_log.rows_warned is
        'Documents that were landed although they break a rule whose on_fail is warn.';
    """,
    """
    alter table ops.schema_changes
        add column resolved_at timestamptz,
        add column resolved_by text,
        add column resolved_why text,
        add check ((resolved_at is null) = (resolved_by is null) and (resolved_at is null) = (resolved_why is null));
    comment on column ops.schema_changes.resolved_at is
        'When somebody closed the entry, as nothing is left to be done about it; null while it is open.';
    do $grant$ declare reader name; begin
        if to_regclass('ops.readers') is not null then
            for reader in select r.role_name from ops.readers r join pg_roles p on p.rolname = r.role_name loop
                execute format('grant select (resolved_at) on ops.schema_changes to %I', reader);
            end loop;
        end if;
    end $grant$;
    """,
    """
    create table ops.resets (
        id bigint generated always as identity primary key,
        source text not null,
        table_name text not null,
        since text,
        state jsonb not null,
        replaces boolean not null,
        after_batch text not null,
        asked_by text not null,
        why text not null,
        started_at timestamptz not null default now(),
        batch_id text,
        ended_at timestamptz
    );
    create unique index resets_under_way on ops.resets (source, table_name) where ended_at is null;
    comment on table ops.resets is
        'Every reset of a table: who asked for it and why, and the batch that answered it. Without an end it waits '
        'for a batch that is read from its state; ended without a batch, another one took its place.';
    """,
    """
    alter table ops.dbt_nodes add column tested text not null default '';
    comment on column ops.dbt_nodes.tested is 'Which version of its tests the model has passed.';
    delete from ops.dbt_projects;
    """,
    """
    alter table monitoring.lineage add column problem text;
    comment on column monitoring.lineage.problem is 'What is wrong with its configuration in dbt; taken for absent.';
    create table monitoring.source_freshness (
        name text primary key,
        relation text not null,
        query text not null,
        warn_seconds bigint,
        error_seconds bigint,
        status text,
        newest timestamptz,
        message text,
        checked_at timestamptz
    );
    comment on table monitoring.source_freshness is
        'One row per source table whose dbt project says how old it may be: the rule, and what the last look found.';
    """,
    """
    create table ops.usual_fields (
        source text not null,
        table_name text not null,
        child text not null,
        batch_id text not null,
        fields jsonb not null,
        primary key (source, table_name, child)
    );
    comment on table ops.usual_fields is
        'What is usual for the fields of each relation, against which each batch is held; see docs/runbooks/drift.md.';
    comment on table ops.schema_changes is
        'The ledger of drift: every change of the documents'' shape; docs/runbooks/drift.md lists its kinds.';
    """,
    """
    alter table monitoring.pipeline_daily
        add column rolled_up_at timestamptz not null default now(),
        add column closed boolean not null default true;
    comment on table monitoring.pipeline_daily is
        'pipeline_log by day (UTC) and table, of days that are over, also when their rows are removed. '
        'Empty names: the run itself.';
    comment on column monitoring.pipeline_daily.closed is 'The rows of the day are removed.';
    create index pipeline_log_logged on monitoring.pipeline_log (logged_at);
    create index pipeline_log_at on monitoring.pipeline_log (coalesce(started_at, expected_at, logged_at));
    create view monitoring.days as
        select day, stage, source, table_name, runs, failures, rows_read, bytes_read, rows_landed, rows_loaded,
            rows_rejected, rows_rescued, rows_deleted, seconds, seconds_p50, seconds_p95
        from monitoring.pipeline_daily
        union all
        select (started_at at time zone 'UTC')::date, stage, coalesce(source, ''), coalesce(table_name, ''),
            count(*)::integer, (count(*) filter (where state in
                ('Failed', 'Crashed', 'TimedOut', 'Cancelled', 'Cancelling', 'Missing', 'Late', 'Lost')))::integer,
            sum(rows_read)::bigint, sum(bytes_read)::bigint, sum(rows_landed)::bigint, sum(rows_loaded)::bigint,
            sum(rows_rejected)::bigint, sum(rows_rescued)::bigint, sum(rows_deleted)::bigint, sum(seconds),
            percentile_cont(0.5) within group (order by seconds), percentile_cont(0.95) within group (order by seconds)
        from monitoring.pipeline_log
        where started_at >= (select coalesce((max(day) + 1)::timestamp at time zone 'UTC', '-infinity')
            from monitoring.pipeline_daily)
        group by 1, 2, 3, 4;
    comment on view monitoring.days is
        'What each table, and each stage as a whole (empty names), did by day (UTC): rolled up, or from the log.';
    """,
    """
    alter table ops.batches add column origin jsonb;
    comment on column ops.batches.origin is 'What the batch was read from, where its source tells.';
    """,
    """
    alter table monitoring.looks add column parts jsonb not null default '[]';
    comment on column monitoring.looks.parts is
        'Its parts in order: name, seconds, and cpu_seconds of its own process, without those of servers.';
    """,
    """
    create view monitoring.freshness_now as
        select layer, relation, as_of, sla_seconds, case when broken then 'stale' else state end as state,
            case when broken then as_of + make_interval(secs => sla_seconds) else since end as since,
            case when broken then coalesce(because, 'no run since then') else because end as because,
            owner, checked_at
        from (select *, state in ('fresh', 'behind') and as_of + make_interval(secs => sla_seconds) < now() as broken
            from monitoring.freshness) judged;
    comment on view monitoring.freshness_now is
        'Freshness as of now: a promise that was kept at the last look may be broken since, and nobody has looked.';
    """,
    """
    alter table monitoring.pipeline_daily add column rows_unchanged bigint;
    update monitoring.pipeline_daily d set rows_unchanged = l.rows_unchanged
    from (select (coalesce(started_at, expected_at, logged_at) at time zone 'UTC')::date as day, stage, source,
            table_name, sum(rows_unchanged) as rows_unchanged
        from monitoring.pipeline_log where rows_unchanged is not null group by 1, 2, 3, 4) l
    where (d.day, d.stage, d.source, d.table_name) = (l.day, l.stage, l.source, l.table_name) and not d.closed;
    create or replace view monitoring.days as
        select day, stage, source, table_name, runs, failures, rows_read, bytes_read, rows_landed, rows_loaded,
            rows_rejected, rows_rescued, rows_deleted, seconds, seconds_p50, seconds_p95, rows_unchanged, cpu_seconds,
            peak_memory_bytes
        from monitoring.pipeline_daily
        union all
        select (started_at at time zone 'UTC')::date, stage, coalesce(source, ''), coalesce(table_name, ''),
            count(*)::integer, (count(*) filter (where state in
                ('Failed', 'Crashed', 'TimedOut', 'Cancelled', 'Cancelling', 'Missing', 'Late', 'Lost')))::integer,
            sum(rows_read)::bigint, sum(bytes_read)::bigint, sum(rows_landed)::bigint, sum(rows_loaded)::bigint,
            sum(rows_rejected)::bigint, sum(rows_rescued)::bigint, sum(rows_deleted)::bigint, sum(seconds),
            percentile_cont(0.5) within group (order by seconds), percentile_cont(0.95) within group (order by seconds),
            sum(rows_unchanged)::bigint, sum(cpu_seconds), max(peak_memory_bytes)
        from monitoring.pipeline_log
        where started_at >= (select coalesce((max(day) + 1)::timestamp at time zone 'UTC', '-infinity')
            from monitoring.pipeline_daily)
        group by 1, 2, 3, 4;
    create index pipeline_log_runs on monitoring.pipeline_log (coalesce(started_at, expected_at))
        where stage = 'pipeline';
    create index pipeline_log_odd on monitoring.pipeline_log (coalesce(started_at, expected_at, logged_at))
        where state <> 'Completed';
    create view monitoring.failures as
        select l.id, coalesce(l.started_at, l.expected_at, l.logged_at) as failed_at, l.stage, l.source, l.table_name,
            coalesce(l.table_name, l.flow_name, l.stage) as name, l.state,
            coalesce(l.error_class, 'code') as error_class,
            split_part(coalesce(l.error_message, 'ended as ' || l.state), E'\n', 1) as error
        from monitoring.pipeline_log l
        where l.state in ('Failed', 'Crashed', 'TimedOut', 'Cancelled', 'Missing', 'Late', 'Lost')
            and (l.table_name is not null or not exists (select from monitoring.pipeline_log t
                where t.flow_run_id = l.flow_run_id and t.id <> l.id and t.error_class is not null))
            and (l.stage <> 'pipeline' or not exists (select from monitoring.pipeline_log t
                where t.parent_run_id = l.flow_run_id and t.error_class is not null));
    comment on view monitoring.failures is
        'What failed, once: tables, models, and flows whose tables or steps do not tell the reason.';
    """,
    """
    -- `warehouse reader` of earlier releases made them itself.
    create table if not exists ops.readers (role_name name primary key);
    comment on table ops.readers is 'Roles that may read gold without its personal columns; see ops.grant_reading.';
    create table if not exists ops.personal_columns (column_name text primary key);
    comment on table ops.personal_columns is 'Names of columns of gold that readers may not see.';
    """,
    """
    create table ops.warehouse (one boolean primary key default true check (one), id uuid not null);
    comment on table ops.warehouse is
        'One row: the id of this warehouse, by which its runs are known at a Prefect server that others use too.';
    insert into ops.warehouse (id) values (gen_random_uuid());
    """,
    # `place` goes, by a version of its own, once no company's image still builds with dbt packages that call it so.
    """
    create or replace view ops.bronze_columns as
        select t.relation, c.path, c.column_name, c.pg_type as data_type,
            row_number() over (partition by t.relation, c.path order by c.position) as place,
            row_number() over (partition by t.relation, c.path order by c.position) as position
        from ops.tables t join ops.columns c on c.source = t.source and c.table_name = t.table_name
            and c.child = case t.child when '$history' then '' else t.child end
        where c.stored;
    comment on view ops.bronze_columns is
        'The columns of each bronze relation by document path, for models and people. Where a path has several, a row '
        'fills one of them at most: that at position 1 is the path''s own, the next take what those before cannot.';
    comment on column ops.bronze_columns.place is 'The position, as dbt packages of earlier releases call it.';
    """,
    # One rule in one place: dbt calls the function for each relation that it builds, so that rights survive every swap.
    # `warehouse reader` of earlier releases made both functions itself.
    """
    create or replace function ops.grant_reading(relation regclass) returns void language plpgsql as $body$
    declare
        reader name;
        shown text;
    begin
        select string_agg(format('%I', a.attname), ', ' order by a.attnum) into shown
        from pg_catalog.pg_attribute a
        where a.attrelid = relation and a.attnum > 0 and not a.attisdropped
            and not exists (select from ops.personal_columns p where p.column_name = lower(a.attname));
        for reader in select r.role_name from ops.readers r join pg_catalog.pg_roles p on p.rolname = r.role_name loop
            execute format('revoke all on %s from %I', relation, reader);
            if shown is not null then
                execute format('grant select (%s) on %s to %I', shown, relation, reader);
            end if;
        end loop;
    end
    $body$;
    comment on function ops.grant_reading is
        'Lets readers see every column of a relation but the personal ones; dbt calls it after each build.';

    create or replace function monitoring.acknowledge(incident bigint, who text) returns boolean
    language plpgsql security definer set search_path = pg_catalog, pg_temp as $body$
    begin
        if coalesce(trim(who), '') = '' or length(who) > 200 then
            raise exception 'say who takes the incident, in at most 200 characters';
        end if;
        update monitoring.incidents set acknowledged_at = now(), acknowledged_by = trim(who)
        where id = incident and resolved_at is null and acknowledged_at is null;
        return found;
    end
    $body$;
    comment on function monitoring.acknowledge is
        'The one thing that readers may change: who has taken an open incident. False when somebody else was faster.';
    revoke all on function monitoring.acknowledge(bigint, text) from public;
    """,
    """
    alter table monitoring.pipeline_log add column tables text[], add column models boolean;
    comment on column monitoring.pipeline_log.tables is
        'What a run was asked for, `source.table` or `source`; null: everything.';
    comment on column monitoring.pipeline_log.models is 'Whether a pipeline was asked for models, too.';
    alter table monitoring.incidents add column waits boolean not null default false;
    comment on column monitoring.incidents.waits is
        'The next run heals it as a rule: nobody is told before another look finds it, too.';
    """,
    """
    create unlogged table ops.turns (
        source text primary key,
        due timestamptz not null,
        not_before timestamptz
    );
    comment on table ops.turns is
        'When the next request of a source may be sent. Unlogged: after a crash of the server all have their turn.';
    """,
    """
    create view monitoring.loads as
        select b.source, b.table_name, b.batch_id, b.loaded_at, b.rows_inserted, b.rows_updated, b.rows_deleted,
            m.built_at
        from ops.batches b left join ops.models_built m on (m.source, m.table_name) = (b.source, b.table_name);
    comment on view monitoring.loads is
        'One row per loaded batch: what it did to bronze, and up to when the models hold the loads of its table.';
    create view monitoring.schema_changes as
        select c.id, c.source, c.table_name, c.field, c.change, c.old_type, c.new_type, c.action, c.batch_id, c.seen_at,
            c.resolved_at
        from ops.schema_changes c
        where exists (select from ops.batches b
            where b.source = c.source and b.table_name = c.table_name and b.batch_id < c.batch_id);
    comment on view monitoring.schema_changes is
        'The ledger of drift after the first load of each table, without samples of values.';
    create view monitoring.rejects as
        select id, source, table_name, batch_id, stage, path, reason, seen_at, replayed_at, outcome from ops.rejects;
    comment on view monitoring.rejects is 'What could not be loaded and why, without the documents.';
    """,
)


def migrate(connection: psycopg.Connection[Any]) -> None:
    """Create or upgrade the schemas `bronze`, `ops` and `monitoring`; costs one query when all is there.

    Args:
        connection: Outside a transaction, or inside one that may create schemas.
    """
    if migrated(connection):
        return
    with connection.transaction():
        connection.execute("select pg_advisory_xact_lock(%s)", [_LOCK])
        connection.execute("create schema if not exists ops")
        connection.execute("create schema if not exists bronze")
        connection.execute(
            "create table if not exists ops.schema_version "
            "(version integer primary key, applied_at timestamptz not null default now())"
        )
        for version in range(_version(connection) + 1, len(MIGRATIONS) + 1):
            connection.execute(sql.SQL(MIGRATIONS[version - 1]))
            connection.execute("insert into ops.schema_version (version) values (%s)", [version])


def migrated(connection: psycopg.Connection[Any]) -> bool:
    """Return whether the control tables are there, as this version of the product has them."""
    return _version(connection) >= len(MIGRATIONS)


def _version(connection: psycopg.Connection[Any]) -> int:
    found = connection.execute("select to_regclass('ops.schema_version')").fetchone()
    if found is None or found[0] is None:
        return 0
    row = connection.execute("select coalesce(max(version), 0) from ops.schema_version").fetchone()
    return int(row[0]) if row else 0
