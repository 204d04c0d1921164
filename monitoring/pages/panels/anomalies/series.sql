/*
title: Odd series with what was expected
question: Which figure left its usual band?
definition: >
  The daily figures of the series that a rule found odd in this period, each as a share of its own highest, so that all have
  one axis; the marks are the odd days, the grey bars what was expected of them. A new series is learning and never odd.
kind: chart
order: 10
needs: [monitoring.anomalies, monitoring.measures]
columns:
  series: text
  day: date
  value: number
  low: {title: expected from, format: number}
  high: {title: to, format: number}
  share: {title: of the highest, format: percent}
  odd: {title: odd, format: state}
chart:
  encoding: {x: {field: day, type: ordinal, title: null, scale: {domain: $days}, axis: {labelExpr: "slice(datum.label, 5)", labelAngle: -60}}}
  layer:
    - mark: {type: line}
      encoding:
        y: {field: share, type: quantitative, title: of its highest, axis: {format: "%", tickCount: 5}}
        color: {field: series, type: nominal, title: null, legend: {columns: 1, labelLimit: 330}}
    - transform: [{filter: "isValid(datum.odd)"}]
      mark: {type: rule, strokeWidth: 6, opacity: 0.35, color: $none}
      encoding: {y: {field: low_share, type: quantitative}, y2: {field: high_share}}
    - transform: [{filter: "isValid(datum.odd)"}]
      mark: {type: point, size: 90, filled: true, opacity: 1, color: $failed}
      encoding:
        y: {field: share, type: quantitative}
        tooltip: [{field: series}, {field: day}, {field: value}, {field: low}, {field: high}]
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
),

days as (
    select concat_ws(' ', measure, concat_ws('.', nullif(source, 'gold'), table_name), nullif(platform, ''), nullif(account, ''), nullif(field, '')) as series,
        day::date as day, case when a.id is null then m.value else coalesce(m.value, 0) end as value, a.id is not null as is_odd, greatest(a.low, 0) as low, a.high,
        max(greatest(m.value, a.high)) over (partition by measure, source, table_name, platform, account, field) as highest
    from odd
    cross join generate_series((%(since)s at time zone 'UTC')::date + 1, (%(until)s at time zone 'UTC')::date, interval '1 day') as day
    left join monitoring.measures as m using (measure, source, table_name, platform, account, field, day)
    left join monitoring.anomalies as a using (measure, source, table_name, platform, account, field, day)
)

select series, day, value, low, high, value / nullif(highest, 0) as share, low / nullif(highest, 0) as low_share,
    high / nullif(highest, 0) as high_share, case when is_odd then 'odd' end as odd
from days
order by 1, 2
