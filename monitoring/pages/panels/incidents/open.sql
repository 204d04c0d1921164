/*
title: Open incidents
question: What is wrong, who acts, and has anybody taken it?
definition: Everything that went wrong and is not well again.
order: 10
needs: [monitoring.incidents]
columns:
  id: count
  severity: text
  title: text
  message: {title: what is wrong}
  owner: {title: who acts}
  first_step: {title: what to do first}
  runbook: {title: runbook, definition: A page of docs/runbooks.}
  first_seen: {title: first seen, format: time}
  seen: {title: times seen, format: count}
  acknowledged_by: {title: taken by}
empty: Nothing is wrong.
*/
select id, severity, title, message, owner, first_step, replace(runbook, 'docs/runbooks/', '') as runbook, first_seen, seen, acknowledged_by
from monitoring.incidents
where resolved_at is null
order by acknowledged_at is not null, severity = 'high' desc, first_seen
limit 200
