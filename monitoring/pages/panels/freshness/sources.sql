/*
title: Sources by dbt's rule
question: How old is the newest row of each source, by what the dbt project allows?
definition: >
  What `dbt source freshness` would find, asked in each look. A table that just does not change is old here, and fresh
  above, where the time of its last read counts; only sources that others load become incidents.
order: 30
needs: [monitoring.source_freshness]
columns:
  source: text
  status: state
  newest_row: {title: newest row, format: time}
  age: age
  warn_after: {title: warn after, format: age}
  error_after: {title: error after, format: age}
  message: text
empty: No source of the dbt project has a rule (`freshness` in its sources).
*/
select name as source, status, newest as newest_row, now() - newest as age,
    make_interval(secs => warn_seconds) as warn_after, make_interval(secs => error_seconds) as error_after, message
from monitoring.source_freshness
where status is not null
order by status = 'pass', status = 'warn', name
limit 300
