/*
title: Cost by run
question: What does a run cost, and is it getting dearer?
definition: >
  Sums over the steps that read and load tables, of the newest 30 runs in the period: their CPU seconds, the highest memory of one of their
  processes, and the bytes that sources sent. CPU per million rows where at least ten thousand were read.
order: 5
needs: [monitoring.pipeline_log]
columns:
  started: {title: run started, format: time}
  state: state
  cpu_seconds: {title: CPU, format: seconds}
  cpu_per_million: {title: CPU per million rows, format: seconds}
  peak_memory: {title: peak memory, format: bytes}
  bytes_read: {title: size read, format: bytes}
  rows_read: {title: rows read, format: count}
  seconds: {title: time passed, format: seconds}
empty: No run of the pipeline in this period.
*/
with runs as (
    select flow_run_id, coalesce(started_at, expected_at) as started, case state when 'Completed' then 'ok' else lower(state) end as state, seconds
    from monitoring.pipeline_log
    where stage = 'pipeline' and coalesce(started_at, expected_at) >= %(since)s and coalesce(started_at, expected_at) < %(until)s
    order by coalesce(started_at, expected_at) desc
    limit 30
)

select runs.started, runs.state, steps.cpu_seconds,
    case when steps.rows_read >= 10000 then 1e6 * steps.cpu_seconds / steps.rows_read end as cpu_per_million,
    steps.peak_memory, steps.bytes_read, steps.rows_read, runs.seconds
from runs
cross join lateral (
    select sum(l.cpu_seconds) as cpu_seconds, max(l.peak_memory_bytes) as peak_memory,
        sum(l.bytes_read) filter (where l.stage = 'extract')::bigint as bytes_read,
        sum(l.rows_read) filter (where l.stage = 'extract')::bigint as rows_read
    from monitoring.pipeline_log as l
    where l.parent_run_id = runs.flow_run_id and l.stage in ('extract', 'load') and l.table_name is not null
) as steps
order by runs.started desc
