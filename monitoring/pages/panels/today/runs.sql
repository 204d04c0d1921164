/*
title: The last 30 runs
question: Which runs failed, and is the time they take changing?
definition: One bar is one run of the pipeline, from its start to its end.
kind: chart
order: 30
needs: [monitoring.pipeline_log]
columns:
  started: text
  state: state
  minutes: number
chart:
  mark: {type: bar, cornerRadiusEnd: 2, width: {expr: "min(24, bandwidth('x'))"}}
  height: 140
  encoding:
    x: {field: started, type: ordinal, title: null, axis: {labels: false, ticks: false}}
    y: {field: minutes, type: quantitative, title: minutes}
    color:
      {field: state, type: nominal, title: null,
       scale: {domain: [ok, failed, running], range: [$ok, $failed, $none]}}
    tooltip: [{field: started}, {field: state}, {field: minutes}]
empty: No run of the pipeline in this period.
*/
select *
from (
    select to_char(started_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS') as started,
        case
            when state = 'Completed' then 'ok'
            when state in ('Failed', 'Crashed', 'TimedOut', 'Cancelled', 'Cancelling') then 'failed'
            else 'running'
        end as state,
        round((seconds / 60)::numeric, 2) as minutes
    from monitoring.pipeline_log
    where stage = 'pipeline' and started_at >= %(since)s and started_at < %(until)s
    order by started_at desc
    limit 30
) as recent
order by started
