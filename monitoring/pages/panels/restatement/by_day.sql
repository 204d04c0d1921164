/*
title: Rows that sources changed afterwards
question: When is a day final?
definition: Rows that were loaded before and came again with other values, by day of the load (UTC); ad platforms restate their last days.
kind: chart
order: 10
needs: [monitoring.loads]
columns: {day: date, table: text, restated: count, inserted: count}
chart:
  mark: {type: bar}
  height: 160
  encoding:
    x: {field: day, type: ordinal, title: null, scale: {domain: $days}, axis: {labelExpr: "slice(datum.label, 5)", labelAngle: -60}}
    y: {field: restated, type: quantitative, title: rows restated, axis: {tickMinStep: 1}}
    color: {field: table, type: nominal, title: null}
    tooltip: [{field: day}, {field: table}, {field: restated}, {field: inserted}]
empty: No row was restated in this period.
*/
select (loaded_at at time zone 'UTC')::date as day, source || '.' || table_name as "table",
    sum(rows_updated + rows_deleted)::bigint as restated, sum(rows_inserted)::bigint as inserted
from monitoring.loads
where loaded_at >= %(since)s and loaded_at < %(until)s
    and (%(source)s::text is null or source = %(source)s)
    and (%(table)s::text is null or table_name = %(table)s)
group by 1, 2
having sum(rows_updated + rows_deleted) > 0
order by 1, 2
