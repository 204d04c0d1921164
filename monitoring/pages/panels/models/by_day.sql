/*
title: Models and tests by day
question: Which days were green?
definition: Models and tests by their state and day (UTC); skipped is what stands on a failed model.
kind: chart
order: 10
needs: [monitoring.pipeline_log]
columns: {day: date, state: text, nodes: count}
chart:
  mark: {type: bar}
  height: 160
  encoding:
    x: {field: day, type: ordinal, title: null, scale: {domain: $days}, axis: {labelExpr: "slice(datum.label, 5)", labelAngle: -60}}
    y: {field: nodes, type: quantitative, title: models and tests}
    color:
      {field: state, type: nominal, title: null,
       scale: {domain: [ok, warned, skipped, failed], range: [$ok, $late, $none, $failed]}}
    order: {field: state, sort: descending}
    tooltip: [{field: day}, {field: state}, {field: nodes}]
*/
with others as (
    select (coalesce(started_at, expected_at, logged_at) at time zone 'UTC')::date as day,
        case state when 'Warned' then 'warned' when 'Skipped' then 'skipped' else 'failed' end as state, count(*) as nodes
    from monitoring.pipeline_log
    where stage = 'dbt' and table_name is not null and state <> 'Completed'
        and coalesce(started_at, expected_at, logged_at) >= %(since)s
        and coalesce(started_at, expected_at, logged_at) < %(until)s
    group by 1, 2
),

everything as (
    select day, sum(runs) as nodes
    from monitoring.days
    where stage = 'dbt' and table_name <> ''
        and day > (%(since)s at time zone 'UTC')::date and day <= (%(until)s at time zone 'UTC')::date
    group by day
)

select day, state, nodes
from others
where day in (select day from everything)
union all
select day, 'ok', (nodes - coalesce((select sum(others.nodes) from others where others.day = everything.day), 0))::bigint
from everything
order by day, state
