/*
title: Cost by table
question: Which table needs most?
definition: >
  CPU seconds and peak memory of the table's steps over the period; per million rows where at least ten thousand were read. Tables that share
  a process share its peak.
order: 10
needs: [monitoring.days]
columns:
  what: text
  stage: text
  runs: count
  cpu_seconds: {title: CPU, format: seconds}
  cpu_per_million: {title: CPU per million rows, format: seconds}
  peak_memory: {title: peak memory, format: bytes}
  seconds: {title: time in all, format: seconds}
empty: No step was measured in this period.
*/
select source || '.' || table_name as what, stage, sum(runs)::bigint as runs, sum(cpu_seconds) as cpu_seconds,
    case when sum(coalesce(rows_read, rows_landed)) >= 10000
        then 1e6 * sum(cpu_seconds) / sum(coalesce(rows_read, rows_landed)) end as cpu_per_million,
    max(peak_memory_bytes) as peak_memory, sum(seconds) as seconds
from monitoring.days
where table_name <> '' and stage in ('extract', 'load')
    and day > (%(since)s at time zone 'UTC')::date and day <= (%(until)s at time zone 'UTC')::date
    and (%(source)s::text is null or source = %(source)s)
    and (%(table)s::text is null or table_name = %(table)s)
group by 1, 2
order by cpu_seconds desc nulls last, seconds desc nulls last
limit 50
