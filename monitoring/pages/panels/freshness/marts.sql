/*
title: Marts and tables against their promise
question: What is stale, since when and because of what?
definition: As of is the moment up to which the data goes; the promise is the most that it may be behind.
order: 10
needs: [monitoring.freshness_now]
columns:
  relation: text
  layer: text
  state: state
  as_of: {title: data as of, format: time}
  behind: age
  promise: age
  stale_since: {title: stale since, format: time}
  because: text
  owner: text
empty: Freshness has not been looked at yet.
*/
select relation, layer, state, as_of, now() - as_of as behind, make_interval(secs => sla_seconds) as promise,
    since as stale_since, because, owner
from monitoring.freshness_now
order by state in ('ok', 'fresh'), layer desc, relation
limit 300
