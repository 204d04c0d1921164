/*
title: Models and tests by day
question: Which rule broke?
definition: dbt nodes by their state and day (UTC).
kind: chart
order: 10
needs: [monitoring.pipeline_log]
columns: {day: date, state: text, nodes: count}
chart:
  mark: {type: bar}
  height: 160
  encoding:
    x: {field: day, type: ordinal, title: null, scale: {domain: $days}, axis: {labelExpr: "slice(datum.label, 5)", labelAngle: -60}}
    y: {field: nodes, type: quantitative, title: nodes}
    color: {field: state, type: nominal, title: null}
    tooltip: [{field: day}, {field: state}, {field: nodes}]
*/
select (started_at at time zone 'UTC')::date as day, state, count(*) as nodes
from monitoring.pipeline_log
where stage = 'dbt' and table_name is not null and started_at >= %(since)s and started_at < %(until)s
group by 1, 2
order by 1, 2
