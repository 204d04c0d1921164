/*
title: Sources
question: Which sources are well, late or failed, and when did each last work?
definition: The state of a source is the worst of its tables' last runs; late is a last run more than 26 hours ago.
kind: cards
order: 10
needs: [monitoring.days]
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
    select distinct source, table_name
    from monitoring.days
    where stage in ('extract', 'load') and table_name <> ''
        and day > (%(since)s at time zone 'UTC')::date and day <= (%(until)s at time zone 'UTC')::date
        and (%(source)s::text is null or source = %(source)s)
),

judged as (
    select tables.source, newest.started_at as last_run, newest.failed, well.last_success, day.rows_loaded, day.rows_rejected
    from tables
    cross join lateral (
        select l.started_at,
            l.state in ('Failed', 'Crashed', 'TimedOut', 'Cancelled', 'Cancelling', 'Missing', 'Late', 'Lost') as failed
        from monitoring.pipeline_log as l
        where l.source = tables.source and l.table_name = tables.table_name and l.stage in ('extract', 'load')
            and l.started_at < %(until)s
        order by l.started_at desc, failed desc
        limit 1
    ) as newest
    left join lateral (
        select l.started_at as last_success
        from monitoring.pipeline_log as l
        where l.source = tables.source and l.table_name = tables.table_name and l.stage in ('extract', 'load')
            and l.state = 'Completed' and l.started_at < %(until)s
        order by l.started_at desc
        limit 1
    ) as well on true
    cross join lateral (
        select sum(l.rows_loaded) as rows_loaded, sum(l.rows_rejected) filter (where l.stage = 'load') as rows_rejected
        from monitoring.pipeline_log as l
        where l.source = tables.source and l.table_name = tables.table_name and l.stage in ('extract', 'load')
            and l.started_at >= %(until)s - interval '24 hours' and l.started_at < %(until)s
    ) as day
)

select source,
    case
        when bool_or(failed) then 'failed'
        when max(last_run) < %(until)s - interval '26 hours' then 'late'
        else 'ok'
    end as state,
    count(*) as tables, count(*) filter (where failed) as failed,
    max(last_success) as last_success, sum(rows_loaded) as rows_loaded, sum(rows_rejected) as rows_rejected
from judged
group by source
order by failed desc, source
