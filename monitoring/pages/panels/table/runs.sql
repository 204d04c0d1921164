/*
title: Runs
question: What did each run do?
definition: Newest first, one row per stage.
order: 20
needs: [monitoring.pipeline_log]
columns:
  started_at: {title: started, format: time}
  stage: text
  state: state
  seconds: {title: time, format: seconds}
  rows_read: {title: read, format: count}
  rows_loaded: {title: loaded, format: count}
  rows_rejected: {title: rejected, format: count}
  window_from: {title: read from}
  error: {title: first error line, format: code}
empty: Choose a source and a table above, or more days.
*/
select started_at, stage, state, seconds, rows_read, rows_loaded, rows_rejected, window_from,
    left(split_part(error_message, E'\n', 1), 300) as error
from monitoring.pipeline_log
where source = %(source)s and table_name = %(table)s and started_at >= %(since)s and started_at < %(until)s
order by started_at desc
limit 200
