/*
title: Rules and models that broke
question: Which rule broke, and does it still?
definition: Models and tests that failed, warned or were skipped in the period, with their last state; the newest first.
order: 20
needs: [monitoring.pipeline_log]
columns:
  node: {title: model or test}
  times: count
  last_at: {title: last broke, format: time}
  state: {title: state of the last run, format: state}
  error: {title: what it said, format: code}
empty: Every model was built and every test passed in this period.
*/
with broken as (
    select source, table_name, count(*) as times, max(started_at) as last_at,
        (array_agg(error_message order by started_at desc))[1] as error
    from monitoring.pipeline_log
    where stage = 'dbt' and table_name is not null and state <> 'Completed'
        and coalesce(started_at, expected_at, logged_at) >= %(since)s
        and coalesce(started_at, expected_at, logged_at) < %(until)s
    group by source, table_name
)

select concat_ws('.', broken.source, broken.table_name) as node, broken.times, broken.last_at,
    case newest.state when 'Completed' then 'ok' else lower(newest.state) end as state,
    left(split_part(broken.error, E'\n', 1), 300) as error
from broken
left join lateral (
    select l.state
    from monitoring.pipeline_log as l
    where l.source = broken.source and l.table_name = broken.table_name and l.stage = 'dbt' and l.started_at < %(until)s
    order by l.started_at desc
    limit 1
) as newest on true
order by broken.last_at desc
limit 100
