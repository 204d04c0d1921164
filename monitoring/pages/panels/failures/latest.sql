/*
title: The latest failures
question: What failed, who acts, and when did it last work?
definition: The newest failure of each table, model and flow, with the first line of its error.
order: 20
needs: [monitoring.failures]
columns:
  what: text
  stage: text
  kind: {title: kind and who acts, format: owner}
  failed_at: {title: failed at, format: time}
  times: count
  last_success: {title: last success of the table, format: time}
  error: {title: first error line, format: code}
empty: Nothing failed in this period.
*/
with failed as (
    select distinct on (source, name, stage) source, table_name, name, stage, error_class, failed_at, error,
        count(*) over (partition by source, name, stage) as times
    from monitoring.failures
    where failed_at >= %(since)s and failed_at < %(until)s
        and (%(source)s::text is null or source = %(source)s)
    order by source, name, stage, failed_at desc
)

select concat_ws('.', failed.source, failed.name) as what, failed.stage, failed.error_class as kind,
    failed.failed_at, failed.times, well.last_success, left(failed.error, 300) as error
from failed
left join lateral (
    select l.started_at as last_success
    from monitoring.pipeline_log as l
    where l.source = failed.source and l.table_name = failed.table_name and l.stage = failed.stage
        and l.state = 'Completed'
    order by l.started_at desc
    limit 1
) as well on true
order by failed.failed_at desc
limit 50
