/*
title: Duration by stage
question: What is slowing?
definition: Median (p50) and 95th percentile (p95, dashed) of the runs of each stage, by day (UTC).
kind: chart
order: 10
needs: [monitoring.days]
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
select day, stage, round(seconds_p50::numeric, 2) as p50, round(seconds_p95::numeric, 2) as p95, runs
from monitoring.days
where table_name = '' and source = '' and seconds_p50 is not null
    and day > (%(since)s at time zone 'UTC')::date and day <= (%(until)s at time zone 'UTC')::date
order by 1, 2
