/*
title: Schema changes by day
question: What changed at the source, and when?
definition: Entries of the ledger of drift after a table's first load, by day (UTC).
kind: chart
order: 10
needs: [monitoring.schema_changes]
columns: {day: date, change: text, changes: count}
chart:
  mark: {type: bar}
  height: 140
  encoding:
    x: {field: day, type: ordinal, title: null, scale: {domain: $days}, axis: {labelExpr: "slice(datum.label, 5)", labelAngle: -60}}
    y: {field: changes, type: quantitative, title: changes, axis: {tickMinStep: 1}}
    color: {field: change, type: nominal, title: null}
    tooltip: [{field: day}, {field: change}, {field: changes}]
empty: No schema change in this period.
*/
select (seen_at at time zone 'UTC')::date as day, change, count(*) as changes
from monitoring.schema_changes
where seen_at >= %(since)s and seen_at < %(until)s
    and (%(source)s::text is null or source = %(source)s)
    and (%(table)s::text is null or table_name = %(table)s)
group by 1, 2
order by 1, 2
