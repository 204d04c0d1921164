/*
title: Slowest tables and models
question: What took longest, and how far is the last run from its usual time?
definition: >
  p50 is the median of the days' medians, p95 the highest of the days' 95th percentiles. Change is the last run against p50.
order: 20
needs: [monitoring.days, monitoring.pipeline_log]
columns:
  what: text
  stage: text
  p50: seconds
  p95: seconds
  last: {title: last run, format: seconds}
  change: percent
  runs: count
*/
with measured as (
    select source, table_name, stage, sum(runs) as runs,
        percentile_cont(0.5) within group (order by seconds_p50) as p50, max(seconds_p95) as p95
    from monitoring.days
    where table_name <> '' and seconds_p50 is not null and stage in ('extract', 'load', 'dbt')
        and day > (%(since)s at time zone 'UTC')::date and day <= (%(until)s at time zone 'UTC')::date
        and (%(source)s::text is null or source = %(source)s)
    group by source, table_name, stage
)

select m.source || '.' || m.table_name as what, m.stage, m.p50, m.p95, newest.seconds as last,
    (newest.seconds / nullif(m.p50, 0) - 1)::numeric as change, m.runs
from measured as m
cross join lateral (
    select l.seconds
    from monitoring.pipeline_log as l
    where l.source = m.source and l.table_name = m.table_name and l.stage = m.stage and l.seconds is not null
        and l.started_at < %(until)s
    order by l.started_at desc
    limit 1
) as newest
order by last desc
limit 15
