/*
title: The last run, step by step
question: Where is the critical path?
definition: Start and end of each table, model and flow of the newest run in the period; tests are left out.
kind: chart
order: 10
needs: [monitoring.pipeline_log]
columns: {step: text, stage: text, begins: seconds, ends: seconds, state: state}
chart:
  mark: {type: bar, cornerRadius: 2}
  height: {step: 16}
  encoding:
    y: {field: step, type: nominal, sort: null, title: null, axis: {labelLimit: 190, labelOverlap: false}}
    x: {field: begins, type: quantitative, title: seconds since the start}
    x2: {field: ends}
    color: {field: stage, type: nominal, title: null}
    tooltip: [{field: step}, {field: stage}, {field: begins}, {field: ends}, {field: state}]
empty: No run of the pipeline in this period.
*/
with last_run as (
    select flow_run_id, started_at
    from monitoring.pipeline_log
    where stage = 'pipeline' and started_at >= %(since)s and started_at < %(until)s
    order by started_at desc
    limit 1
)

select case when l.stage = 'dbt' then l.table_name else concat_ws('.', l.source, l.table_name) || ' ' || l.stage end as step, l.stage,
    round(extract(epoch from l.started_at - last_run.started_at), 1) as begins,
    round(extract(epoch from l.started_at - last_run.started_at) + l.seconds::numeric, 1) as ends, l.state
from last_run
inner join monitoring.pipeline_log as l on l.parent_run_id = last_run.flow_run_id
where l.table_name is not null and l.seconds is not null and l.source <> 'test'
order by l.started_at, step
limit 80
