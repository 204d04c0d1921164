/*
title: Failures by kind
question: What broke, and does it come back?
definition: Failed runs of tables, models and flows by day (UTC); a flow whose tables tell the reason is not counted again.
kind: chart
order: 10
needs: [monitoring.failures]
columns: {day: date, kind: text, failures: count}
chart:
  mark: {type: bar}
  height: 160
  encoding:
    x: {field: day, type: ordinal, title: null, scale: {domain: $days}, axis: {labelExpr: "slice(datum.label, 5)", labelAngle: -60}}
    y: {field: failures, type: quantitative, title: failures, axis: {tickMinStep: 1}}
    color: {field: kind, type: nominal, title: null}
    tooltip: [{field: day}, {field: kind}, {field: failures}]
empty: Nothing failed in this period.
*/
select (failed_at at time zone 'UTC')::date as day, error_class as kind, count(*) as failures
from monitoring.failures
where failed_at >= %(since)s and failed_at < %(until)s
    and (%(source)s::text is null or source = %(source)s)
group by 1, 2
order by 1, 2
