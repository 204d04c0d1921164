/*
title: Rows loaded by source
question: Too few, too many?
definition: Rows that load inserted or updated in bronze, by day (UTC).
kind: chart
order: 10
needs: [monitoring.days]
columns: {day: date, source: text, rows_loaded: {title: rows loaded, format: count}, bytes_read: {title: read, format: bytes}}
chart:
  mark: {type: bar}
  encoding:
    x: {field: day, type: ordinal, title: null, scale: {domain: $days}, axis: {labelExpr: "slice(datum.label, 5)", labelAngle: -60}}
    y: {field: rows_loaded, type: quantitative, title: rows}
    color: {field: source, type: nominal, title: null}
    tooltip: [{field: day}, {field: source}, {field: rows_loaded, format: ","}]
*/
select day, source, coalesce(sum(rows_loaded), 0)::bigint as rows_loaded,
    sum(bytes_read)::bigint as bytes_read
from monitoring.days
where stage in ('extract', 'load') and table_name <> ''
    and day > (%(since)s at time zone 'UTC')::date and day <= (%(until)s at time zone 'UTC')::date
    and (%(source)s::text is null or source = %(source)s)
    and (%(table)s::text is null or table_name = %(table)s)
group by 1, 2
order by 1, 2
