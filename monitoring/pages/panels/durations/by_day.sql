/*
title: Duration by stage
question: What is slowing?
definition: Median (p50) and 95th percentile (p95, dashed) of the runs of each stage, by day (UTC).
kind: chart
order: 10
needs: [monitoring.pipeline_log]
columns: {day: date, stage: text, p50: seconds, p95: seconds, runs: count}
chart:
  encoding:
    x: {field: day, type: ordinal, title: null, scale: {domain: $days}, axis: {labelExpr: "slice(datum.label, 5)", labelAngle: -60}}
    color: {field: stage, type: nominal, title: null}
  layer:
    - mark: {type: line, point: true}
      encoding:
        y: {field: p50, type: quantitative, title: seconds}
        tooltip: [{field: day}, {field: stage}, {field: p50}, {field: p95}, {field: runs}]
    - mark: {type: line, strokeDash: [4, 3], opacity: 0.7}
      encoding: {y: {field: p95, type: quantitative}}
*/
select (started_at at time zone 'UTC')::date as day, stage,
    round(percentile_cont(0.5) within group (order by seconds)::numeric, 2) as p50,
    round(percentile_cont(0.95) within group (order by seconds)::numeric, 2) as p95,
    count(*) as runs
from monitoring.pipeline_log
where table_name is null and seconds is not null and started_at >= %(since)s and started_at < %(until)s
group by 1, 2
order by 1, 2
