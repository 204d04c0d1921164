/*
title: Recovered
question: What was wrong, and for how long?
definition: Incidents that ended in this period.
order: 20
needs: [monitoring.incidents]
columns:
  title: text
  subject: text
  first_seen: {title: first seen, format: time}
  resolved_at: {title: well again, format: time}
  lasted: age
  acknowledged_by: {title: taken by}
empty: No incident ended in this period.
*/
select title, subject, first_seen, resolved_at, resolved_at - first_seen as lasted, acknowledged_by
from monitoring.incidents
where resolved_at >= %(since)s and resolved_at < %(until)s
order by resolved_at desc
limit 200
