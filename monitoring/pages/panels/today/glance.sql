/*
title: At a glance
question: Is gold as fresh as promised, is anything open, and does anybody look?
definition: >
  Marts count as up to date while their promise holds and nothing that they are made of failed; incidents until they are well again.
  Monitoring is late when it has not looked for 26 hours.
kind: cards
order: 5
needs: [monitoring.freshness_now, monitoring.incidents, monitoring.looks, monitoring.pipeline_log]
columns: {what: text, state: state, found: text, since: time}
*/
select 'Gold' as what,
    case when count(*) = 0 then 'unknown' when bool_or(state in ('stale', 'never')) then 'stale'
        when bool_or(state = 'behind') then 'behind' else 'ok' end as state,
    format('%%s of %%s marts up to date, the oldest as of', count(*) filter (where state = 'fresh'), count(*)) as found, min(as_of) as since
from monitoring.freshness_now
where layer = 'gold'
union all
select 'Incidents', case when count(*) = 0 then 'ok' when bool_or(severity = 'high') then 'failed' else 'open' end,
    format('%%s open, %%s not taken', count(*), count(*) filter (where acknowledged_by is null))
        || case when count(*) > 0 then ', the oldest since' else '' end, min(first_seen)
from monitoring.incidents
where resolved_at is null
union all
(select 'The last run',
    case when state = 'Completed' then 'ok' when state in ('Failed', 'Crashed', 'TimedOut', 'Cancelled', 'Lost') then 'failed' else 'running' end,
    lower(state) || ', due or started', coalesce(started_at, expected_at)
from monitoring.pipeline_log
where stage = 'pipeline'
order by coalesce(started_at, expected_at) desc nulls last
limit 1)
union all
select 'Monitoring', case when max(looked_at) is null then 'unknown' when max(looked_at) < now() - interval '26 hours' then 'late' else 'ok' end,
    case when max(looked_at) is null then 'has not looked yet' else 'looked last' end, max(looked_at)
from monitoring.looks
