/*
title: From step to step by channel
question: Which channel brings visitors who buy?
definition: >
  Share of visitors who took a step, of those who took the one before, by the channel of the visit in which they first looked at a product
  on a day. Light is little; the figures tell how many visitors that is.
kind: chart
order: 20
needs: [gold.fct_funnel_daily]
as_of: select max(date_day) from gold.fct_funnel_daily
columns: {channel_group: {title: channel}, step: text, visitors: count, step_rate: {title: of the step before, format: percent}}
chart:
  height: {step: 26}
  transform: [{filter: "datum.step !== 'product view'"}]
  encoding:
    x: {field: step, type: nominal, sort: [add to cart, checkout, purchase], title: null, axis: {labelAngle: 0}}
    y: {field: channel_group, type: nominal, title: null}
  layer:
    - mark: {type: rect}
      encoding:
        # Light in both schemes, as the figures stand on it.
        color: {field: step_rate, type: quantitative, scale: {domain: [0, 1], range: ["#e8effc", "#79a1ee"]}, legend: null}
        tooltip: [{field: channel_group}, {field: step}, {field: visitors, format: ","}, {field: step_rate, format: ".1%"}]
    - mark: {type: text, color: "#111827"}
      encoding: {text: {field: step_rate, type: quantitative, format: ".0%"}}
*/
select channel_group, step, sum(visitors)::bigint as visitors, {{ step_rate }} as step_rate
from gold.fct_funnel_daily
where date_day >= %(since)s::date and date_day < %(until)s::date
    and (%(device)s::text is null or device_type = %(device)s)
group by channel_group, step_number, step
order by channel_group, step_number
