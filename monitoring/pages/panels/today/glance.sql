/*
title: At a glance
question: Is gold as fresh as promised, is anything open, and does anybody look?
definition: >
  Marts count as up to date while their promise holds and nothing that they are made of failed; incidents until they are well again.
  Monitoring is late when it has not looked for 26 hours.
kind: cards
order: 5
needs: [monitoring.freshness_now, monitoring.incidents, monitoring.looks, monitoring.pipeline_log]
columns: {what: text, state: state, found: text}
*/
select 'Gold' as what,
    case when count(*) = 0 then 'unknown' when bool_or(state in ('stale', 'never')) then 'stale'
        when bool_or(state = 'behind') then 'behind' else 'ok' end as state,
    format('%%s of %%s marts up to date', count(*) filter (where state = 'fresh'), count(*))
        || coalesce(', the oldest as of ' || to_char(min(as_of) at time zone 'UTC', 'YYYY-MM-DD HH24:MI'), '') as found
from monitoring.freshness_now
where layer = 'gold'
union all
select 'Incidents', case when count(*) = 0 then 'ok' when bool_or(severity = 'high') then 'failed' else 'open' end,
    format('%%s open, %%s not taken', count(*), count(*) filter (where acknowledged_by is null))
        || coalesce(', the oldest since ' || to_char(min(first_seen) at time zone 'UTC', 'YYYY-MM-DD HH24:MI'), '')
from monitoring.incidents
where resolved_at is null
union all
(select 'The last run',
    case when state = 'Completed' then 'ok' when state in ('Failed', 'Crashed', 'TimedOut', 'Cancelled', 'Lost') then 'failed' else 'running' end,
    format('%%s, %%s %%s', lower(state), case when started_at is null then 'due at' else 'began' end,
        to_char(coalesce(started_at, expected_at) at time zone 'UTC', 'YYYY-MM-DD HH24:MI'))
from monitoring.pipeline_log
where stage = 'pipeline' and coalesce(started_at, expected_at) is not null
order by coalesce(started_at, expected_at) desc
limit 1)
union all
select 'Monitoring', case when max(looked_at) is null then 'unknown' when max(looked_at) < now() - interval '26 hours' then 'late' else 'ok' end,
    coalesce('looked last at ' || to_char(max(looked_at) at time zone 'UTC', 'YYYY-MM-DD HH24:MI'), 'has not looked yet')
from monitoring.looks
