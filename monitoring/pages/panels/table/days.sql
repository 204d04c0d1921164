/*
title: Rows by day
question: How did this table behave?
definition: Sums over all runs of a day (UTC).
kind: chart
order: 10
needs: [monitoring.days]
columns: {day: date, what: text, rows: count}
chart:
  mark: {type: line, point: true}
  encoding:
    x: {field: day, type: ordinal, title: null, scale: {domain: $days}, axis: {labelExpr: "slice(datum.label, 5)", labelAngle: -60}}
    y: {field: rows, type: quantitative, title: rows}
    color: {field: what, type: nominal, title: null}
    tooltip: [{field: day}, {field: what}, {field: rows, format: ","}]
empty: Choose a source and a table above, or more days.
*/
with days as (
    select day, sum(rows_read) filter (where stage = 'extract') as read,
        sum(rows_loaded) as loaded, sum(rows_rejected) filter (where stage = 'load') as rejected
    from monitoring.days
    where source = %(source)s and table_name = %(table)s and stage in ('extract', 'load')
        and day > (%(since)s at time zone 'UTC')::date and day <= (%(until)s at time zone 'UTC')::date
    group by 1
)

select day, what, rows::bigint
from days
cross join lateral (values ('read', read), ('loaded', loaded), ('rejected', rejected)) as pairs (what, rows)
where rows is not null
order by 1, 2
