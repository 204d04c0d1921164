/*
title: Monitoring itself
question: What does the last look at everything cost?
definition: Time that passed, and processor time of the process that looked, without that of the servers it asked.
order: 20
needs: [monitoring.looks]
columns:
  part: text
  seconds: {title: time, format: seconds}
  cpu_seconds: {title: CPU, format: seconds}
  looked_at: {title: at, format: time}
empty: Monitoring has not looked yet.
*/
with parts as (
    select part ->> 'name' as part, (part ->> 'seconds')::float8 as seconds,
        (part ->> 'cpu_seconds')::float8 as cpu_seconds, looks.looked_at
    from monitoring.looks
    cross join jsonb_array_elements(looks.parts) as part
)

select coalesce(part, 'all of it') as part, sum(seconds) as seconds, sum(cpu_seconds) as cpu_seconds,
    max(looked_at) as looked_at
from parts
group by rollup (part)
having count(*) > 0
order by seconds desc
