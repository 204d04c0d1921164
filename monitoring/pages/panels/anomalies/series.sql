/*
title: Odd series with what was expected
question: Which figure left its usual band?
definition: The daily figures of the series that a rule found odd in this period; the marks are the odd days. A new series is learning and never odd.
kind: chart
order: 10
needs: [monitoring.anomalies, monitoring.measures]
columns: {series: text, day: date, value: number, expected: number, low: number, high: number}
chart:
  encoding: {x: {field: day, type: temporal, title: null}}
  layer:
    - mark: {type: line}
      encoding:
        y: {field: value, type: quantitative, title: value}
        color: {field: series, type: nominal, title: null}
    - transform: [{filter: "isValid(datum.low)"}]
      mark: {type: rule, strokeWidth: 6, opacity: 0.35, color: $none}
      encoding: {y: {field: low, type: quantitative}, y2: {field: high}}
    - transform: [{filter: "isValid(datum.odd)"}]
      mark: {type: point, size: 90, filled: true, color: $failed}
      encoding:
        y: {field: odd, type: quantitative}
        tooltip: [{field: series}, {field: day}, {field: odd}, {field: low}, {field: high}]
empty: No figure left its usual band in this period.
*/
with odd as (
    select measure, source, table_name, platform, account, field, max(abs(score)) as score
    from monitoring.anomalies
    where day >= (%(since)s)::date and status <> 'dismissed'
        and (%(source)s::text is null or source = %(source)s)
        and (%(table)s::text is null or table_name = %(table)s)
    group by 1, 2, 3, 4, 5, 6
    order by score desc nulls last
    limit 4
)

select concat_ws(' ', m.measure, m.source || '.' || m.table_name, nullif(m.platform, ''), nullif(m.account, ''), nullif(m.field, '')) as series,
    m.day, m.value, a.expected, a.low, a.high, case when a.id is not null then m.value end as odd
from odd
inner join monitoring.measures as m using (measure, source, table_name, platform, account, field)
left join monitoring.anomalies as a
    on a.measure = m.measure and a.source = m.source and a.table_name = m.table_name and a.platform = m.platform
    and a.account = m.account and a.field = m.field and a.day = m.day
where m.day >= (%(since)s)::date and m.day <= (%(until)s)::date
order by 1, 2
