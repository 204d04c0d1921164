/*
title: Source, bronze and gold
question: Does the money agree?
definition: >
  The same figure at the source, in bronze and in gold, line by line, as it was last looked at. Spend is in the accounts'
  own currencies. About: within one percent, as the source goes on while it is asked. Unknown: nothing to compare with.
order: 10
needs: [monitoring.reconciliation]
columns:
  line: text
  measure: text
  state: state
  source_value: {title: at the source, format: count}
  bronze_value: {title: in bronze, format: count}
  gold_value: {title: in gold, format: count}
  difference: count
  note: text
  checked_at: {title: looked at, format: time}
empty: Nothing has been reconciled in this period.
*/
select *
from (
    select distinct on (line) line, measure, state, source_value, bronze_value, gold_value, difference, note, checked_at
    from monitoring.reconciliation
    where checked_at >= %(since)s and checked_at < %(until)s
        and (%(source)s::text is null or source = %(source)s)
    order by line, day desc
) as newest
order by state = 'unknown', state = 'equal', line
limit 200
