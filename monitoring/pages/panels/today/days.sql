/*
title: The last days by source
question: Was this day normal?
definition: The worst state of a source's table runs on each day (UTC); none is a day without a run.
kind: chart
order: 20
needs: [monitoring.days]
columns:
  day: date
  source: text
  state: state
  runs: {title: table runs, format: count}
  failures: count
chart:
  mark: {type: rect, cornerRadius: 2, stroke: $gap, strokeWidth: 2}
  height: {step: 28}
  encoding:
    x: {field: day, type: ordinal, title: null, axis: {labelExpr: "slice(datum.label, 5)", labelAngle: -60}}
    y: {field: source, type: nominal, title: null}
    color:
      {field: state, type: nominal, title: null,
       scale: {domain: [ok, failed, none], range: [$ok, $failed, $none]}}
    opacity: {condition: {test: "datum.state == 'none'", value: 0.25}, value: 1}
    tooltip: [{field: source}, {field: day}, {field: state}, {field: runs}, {field: failures}]
*/
with runs as (
    select source, day, sum(runs) as runs, sum(failures) as failures
    from monitoring.days
    where stage in ('extract', 'load') and table_name <> ''
        and day > (%(since)s at time zone 'UTC')::date and day <= (%(until)s at time zone 'UTC')::date
        and (%(source)s::text is null or source = %(source)s)
    group by 1, 2
),

days as (
    select day::date
    from generate_series((%(since)s at time zone 'UTC')::date + 1, (%(until)s at time zone 'UTC')::date, interval '1 day') as day
)

select days.day, sources.source,
    case when runs.runs is null then 'none' when runs.failures > 0 then 'failed' else 'ok' end as state,
    coalesce(runs.runs, 0) as runs, coalesce(runs.failures, 0) as failures
from days
cross join (select distinct source from runs) as sources
left join runs on runs.day = days.day and runs.source = sources.source
order by sources.source, days.day
