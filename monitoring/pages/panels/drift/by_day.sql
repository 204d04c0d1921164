/*
title: Schema changes by day
question: What changed at the source, and when?
definition: Entries of ops.schema_changes after a table's first load, by day (UTC).
kind: chart
order: 10
needs: [ops.schema_changes, ops.batches]
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
select (c.seen_at at time zone 'UTC')::date as day, c.change, count(*) as changes
from ops.schema_changes as c
where c.seen_at >= %(since)s and c.seen_at < %(until)s
    and (%(source)s::text is null or c.source = %(source)s)
    and (%(table)s::text is null or c.table_name = %(table)s)
    and exists (
        select from ops.batches as b
        where b.source = c.source and b.table_name = c.table_name and b.batch_id < c.batch_id
    )
group by 1, 2
order by 1, 2
