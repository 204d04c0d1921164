/*
title: The latest failures
question: What failed, who acts, and when did it last work?
definition: The newest failure of each table and model, with the first line of its error.
order: 20
needs: [monitoring.pipeline_log]
columns:
  what: text
  stage: text
  kind: {title: kind and who acts, format: owner}
  failed_at: {title: failed at, format: time}
  times: count
  last_success: {title: last success, format: time}
  error: {title: first error line, format: code}
empty: Nothing failed in this period.
*/
with failed as (
    select distinct on (source, table_name, stage) source, table_name, stage, error_class, started_at,
        split_part(coalesce(error_message, 'ended as ' || state), E'\n', 1) as error,
        count(*) over (partition by source, table_name, stage) as times
    from monitoring.pipeline_log
    where table_name is not null and state in ('Failed', 'Crashed', 'TimedOut', 'Cancelled', 'Missing', 'Late', 'Lost')
        and started_at >= %(since)s and started_at < %(until)s
        and (%(source)s::text is null or source = %(source)s)
    order by source, table_name, stage, started_at desc
)

select concat_ws('.', failed.source, failed.table_name) as what, failed.stage, coalesce(failed.error_class, 'code') as kind,
    failed.started_at as failed_at, failed.times, well.last_success, left(failed.error, 300) as error
from failed
left join lateral (
    select max(l.started_at) as last_success
    from monitoring.pipeline_log as l
    where l.source = failed.source and l.table_name = failed.table_name and l.stage = failed.stage
        and l.state = 'Completed'
) as well on true
order by failed.started_at desc
limit 50
