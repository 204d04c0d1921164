/*
title: From view to purchase
question: Where do they leave?
definition: Visitors who took the step, after the one before and within the window that the models set.
kind: chart
order: 10
needs: [gold.fct_funnel_daily]
as_of: select max(date_day) from gold.fct_funnel_daily
columns: {step: text, visitors: count, step_rate: {title: of the step before, format: percent}}
chart:
  mark: {type: bar}
  height: 180
  encoding:
    y: {field: step, type: nominal, sort: null, title: null}
    x: {field: visitors, type: quantitative, title: visitors}
    color: {value: $accent}
    tooltip: [{field: step}, {field: visitors, format: ","}, {field: step_rate, format: ".1%"}]
*/
select step, sum(visitors)::bigint as visitors, {{ step_rate }} as step_rate
from gold.fct_funnel_daily
where date_day >= %(since)s::date and date_day < %(until)s::date
group by step_number, step
order by step_number
