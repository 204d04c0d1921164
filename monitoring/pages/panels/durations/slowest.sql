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
with runs as (
    select source || '.' || table_name as what, stage, seconds, started_at
    from monitoring.pipeline_log
    where table_name is not null and seconds is not null and stage in ('extract', 'load', 'dbt')
        and started_at >= %(since)s and started_at < %(until)s
        and (%(source)s::text is null or source = %(source)s)
),

measured as (
    select what, stage, count(*) as runs,
        percentile_cont(0.5) within group (order by seconds) as p50,
        percentile_cont(0.95) within group (order by seconds) as p95,
        (array_agg(seconds order by started_at desc))[1] as last
    from runs
    group by what, stage
)

select what, stage, p50, p95, last, (last / nullif(p50, 0) - 1)::numeric as change, runs
from measured
order by last desc
limit 15
