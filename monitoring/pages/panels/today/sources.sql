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
with tables as (
    select source, table_name, max(started_at) as last_run,
        max(started_at) filter (
            where state in ('Failed', 'Crashed', 'TimedOut', 'Cancelled', 'Cancelling', 'Missing', 'Late', 'Lost')
        ) as last_failure,
        max(started_at) filter (where state = 'Completed') as last_success,
        sum(rows_loaded) filter (where started_at >= %(until)s - interval '24 hours') as rows_loaded,
        sum(rows_rejected) filter (where stage = 'load' and started_at >= %(until)s - interval '24 hours') as rows_rejected
    from monitoring.pipeline_log
    where stage in ('extract', 'load') and table_name is not null
        and started_at >= %(since)s and started_at < %(until)s
        and (%(source)s::text is null or source = %(source)s)
    group by source, table_name
)

select source,
    case
        when bool_or(last_run = last_failure) then 'failed'
        when max(last_run) < %(until)s - interval '26 hours' then 'late'
        else 'ok'
    end as state,
    count(*) as tables, count(*) filter (where last_run = last_failure) as failed,
    max(last_success) as last_success, sum(rows_loaded) as rows_loaded, sum(rows_rejected) as rows_rejected
from tables
group by source
order by failed desc, source
