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
with nodes as (
    select source, table_name, started_at, state, error_message,
        first_value(state) over (partition by source, table_name order by started_at desc) as last_state
    from monitoring.pipeline_log
    where stage = 'dbt' and table_name is not null and started_at >= %(since)s and started_at < %(until)s
)

select concat_ws('.', source, table_name) as node, count(*) as times, max(started_at) as last_at,
    case max(last_state) when 'Completed' then 'ok' else lower(max(last_state)) end as state,
    left(split_part((array_agg(error_message order by started_at desc))[1], E'\n', 1), 300) as error
from nodes
where state <> 'Completed'
group by source, table_name
order by last_at desc
limit 100
