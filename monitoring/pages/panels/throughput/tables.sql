/*
title: Tables
question: Were rows lost between the layers?
definition: Sums over the days of the period (UTC). Read and landed are counted by extract; loaded, unchanged, deleted and rejected by load.
order: 20
needs: [monitoring.days]
columns:
  table: {title: table, format: table}
  rows_read: {title: read, format: count}
  rows_landed: {title: landed, format: count}
  rows_loaded: {title: loaded, format: count}
  rows_unchanged: {title: unchanged, format: count}
  rows_deleted: {title: deleted, format: count}
  rows_rejected: {title: rejected, format: count}
  bytes_read: {title: size read, format: bytes}
  rows_per_second: {title: rows per second, format: count}
  last_run: {title: last run, format: time}
*/
with sums as (
    select source, table_name,
        sum(rows_read) filter (where stage = 'extract')::bigint as rows_read,
        sum(rows_landed) filter (where stage = 'extract')::bigint as rows_landed,
        sum(rows_loaded)::bigint as rows_loaded,
        sum(rows_unchanged)::bigint as rows_unchanged,
        sum(rows_deleted)::bigint as rows_deleted,
        coalesce(sum(rows_rejected) filter (where stage = 'load'), sum(rows_rejected))::bigint as rows_rejected,
        sum(bytes_read) filter (where stage = 'extract')::bigint as bytes_read,
        round((sum(rows_read) filter (where stage = 'extract')
            / nullif(sum(seconds) filter (where stage = 'extract'), 0))::numeric) as rows_per_second
    from monitoring.days
    where stage in ('extract', 'load') and table_name <> ''
        and day > (%(since)s at time zone 'UTC')::date and day <= (%(until)s at time zone 'UTC')::date
        and (%(source)s::text is null or source = %(source)s)
        and (%(table)s::text is null or table_name = %(table)s)
    group by source, table_name
)

select sums.source || '.' || sums.table_name as "table", rows_read, rows_landed, rows_loaded, rows_unchanged, rows_deleted,
    rows_rejected, bytes_read, rows_per_second, newest.started_at as last_run
from sums
left join lateral (
    select max(l.started_at) as started_at
    from monitoring.pipeline_log as l
    where l.source = sums.source and l.table_name = sums.table_name and l.started_at < %(until)s
) as newest on true
order by rows_loaded desc nulls last, 1
limit 200
