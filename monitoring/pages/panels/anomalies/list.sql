/*
title: Anomalies
question: What is odd, against what was expected?
definition: One row per day and series that a rule found odd, and its status.
order: 20
needs: [monitoring.anomalies]
columns:
  day: date
  what: text
  measure: text
  value: number
  expected: number
  low: number
  high: number
  rule: text
  status: text
  message: {title: in words}
empty: No figure left its usual band in this period.
*/
select day, concat_ws(' ', source || '.' || table_name, nullif(platform, ''), nullif(account, ''), nullif(field, '')) as what,
    measure, value, expected, greatest(low, 0) as low, high, rule, status, message
from monitoring.anomalies
where day >= (%(since)s)::date and day <= (%(until)s)::date
    and (%(source)s::text is null or source = %(source)s)
    and (%(table)s::text is null or table_name = %(table)s)
order by day desc, abs(score) desc nulls last
limit 100
