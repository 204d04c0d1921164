/*
title: From view to purchase
question: Where do they leave?
definition: Visitors who took the step, after the one before and within the window that the models set; in the bars, their share of the step before.
kind: chart
order: 10
needs: [gold.fct_funnel_daily]
as_of: select max(date_day) from gold.fct_funnel_daily
filters:
  channel: select distinct channel_group from gold.fct_funnel_daily order by 1
  device: select distinct device_type from gold.fct_funnel_daily order by 1
columns: {step: text, visitors: count, step_rate: {title: of the step before, format: percent}, rate: {title: of the first step, format: percent}}
chart:
  height: 180
  encoding:
    y: {field: step, type: nominal, sort: null, title: null}
    x: {field: visitors, type: quantitative, title: visitors, axis: {tickCount: 6}}
  layer:
    - mark: {type: bar}
      encoding:
        color: {value: $accent}
        tooltip: [{field: step}, {field: visitors, format: ","}, {field: step_rate, format: ".1%"}, {field: rate, format: ".1%"}]
    - transform: [{filter: "datum.rate < 1"}]
      mark: {type: text, align: right, dx: -6, color: white, fontWeight: bold}
      encoding: {text: {field: step_rate, type: quantitative, format: ".0%"}}
*/
select step, sum(visitors)::bigint as visitors, {{ step_rate }} as step_rate,
    sum(visitors) / nullif(first_value(sum(visitors)) over (order by step_number), 0) as rate
from gold.fct_funnel_daily
where date_day >= %(since)s::date and date_day < %(until)s::date
    and (%(channel)s::text is null or channel_group = %(channel)s) and (%(device)s::text is null or device_type = %(device)s)
group by step_number, step
order by step_number
