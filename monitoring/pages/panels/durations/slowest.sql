/*
title: Slowest tables and models
question: What took longest, and how far is the last run from its usual time?
definition: Change is the last run against the median of the period.
order: 20
needs: [monitoring.pipeline_log]
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
    select source, table_name, stage, count(*) as runs,
        percentile_cont(array[0.5, 0.95]) within group (order by seconds) as usual
    from monitoring.pipeline_log
    where table_name is not null and seconds is not null and stage in ('extract', 'load', 'dbt')
        and started_at >= %(since)s and started_at < %(until)s
        and (%(source)s::text is null or source = %(source)s)
    group by source, table_name, stage
)

select m.source || '.' || m.table_name as what, m.stage, m.usual[1] as p50, m.usual[2] as p95, newest.seconds as last,
    (newest.seconds / nullif(m.usual[1], 0) - 1)::numeric as change, m.runs
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
