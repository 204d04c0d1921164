/*
title: Rejects
question: Which rows could not be loaded, and do they wait for somebody?
definition: What could not be loaded, by table and reason; waiting are those that were not replayed yet. Five ids as examples.
order: 10
needs: [monitoring.rejects]
columns:
  table: text
  reason: text
  rejects: count
  waiting: count
  last_seen: {title: last seen, format: time}
  ids: {title: ids, format: code}
empty: Nothing was rejected in this period.
*/
select source || '.' || table_name as "table", left(reason, 160) as reason, count(*) as rejects,
    count(*) filter (where replayed_at is null) as waiting, max(seen_at) as last_seen,
    (array_agg(id order by id desc))[1:5] as ids
from monitoring.rejects
where seen_at >= %(since)s and seen_at < %(until)s
    and (%(source)s::text is null or source = %(source)s)
    and (%(table)s::text is null or table_name = %(table)s)
group by 1, 2
order by waiting desc, last_seen desc
limit 100
