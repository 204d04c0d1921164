/*
title: Sources
question: Which sources are well, late or failed, and when did each last work?
definition: The state of a source is the worst of its tables' last runs; late is a last run more than 26 hours ago.
kind: cards
order: 10
needs: [monitoring.pipeline_log]
columns:
  source: text
  state: state
  tables: count
  failed: {title: tables failed, format: count}
  last_success: {title: last success, format: time}
  rows_loaded: {title: rows loaded in 24 h, format: count}
  rows_rejected: {title: rejected in 24 h, format: count}
empty: No source was read in this period.
*/
with runs as (
    select source, table_name, stage, state, started_at, rows_loaded, rows_rejected,
        state in ('Failed', 'Crashed', 'TimedOut', 'Cancelled', 'Cancelling', 'Missing', 'Late', 'Lost') as bad
    from monitoring.pipeline_log
    where stage in ('extract', 'load') and table_name is not null
        and started_at >= %(since)s and started_at < %(until)s
        and (%(source)s::text is null or source = %(source)s)
),

latest as (
    select distinct on (source, table_name) source, table_name, bad, started_at
    from runs
    order by source, table_name, started_at desc
),

by_source as (
    select source, count(*) as tables, count(*) filter (where bad) as failed, max(started_at) as last_run
    from latest
    group by source
),

day as (
    select source, max(started_at) filter (where state = 'Completed') as last_success,
        sum(rows_loaded) filter (where started_at >= %(until)s - interval '24 hours') as rows_loaded,
        sum(rows_rejected) filter (where started_at >= %(until)s - interval '24 hours' and stage = 'load') as rows_rejected
    from runs
    group by source
)

select by_source.source,
    case
        when by_source.failed > 0 then 'failed'
        when by_source.last_run < %(until)s - interval '26 hours' then 'late'
        else 'ok'
    end as state,
    by_source.tables, by_source.failed, day.last_success, day.rows_loaded, day.rows_rejected
from by_source
inner join day on day.source = by_source.source
order by by_source.failed desc, by_source.source
