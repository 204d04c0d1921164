/*
title: From step to step by device
question: Is a step harder on one device?
definition: >
  Share of visitors who took a step, of those who took the one before, by the device of the visit in which they first looked at a product
  on a day. Light is little; the figures tell how many visitors that is.
kind: chart
order: 30
needs: [gold.fct_funnel_daily]
as_of: select max(date_day) from gold.fct_funnel_daily
columns: {device_type: {title: device}, step: text, visitors: count, step_rate: {title: of the step before, format: percent}}
chart:
  height: {step: 26}
  transform: [{filter: "datum.step !== 'product view'"}]
  encoding:
    x: {field: step, type: nominal, sort: [add to cart, checkout, purchase], title: null, axis: {labelAngle: 0}}
    y: {field: device_type, type: nominal, title: null}
  layer:
    - mark: {type: rect}
      encoding:
        # Light in both schemes, as the figures stand on it.
        color: {field: step_rate, type: quantitative, scale: {domain: [0, 1], range: ["#e8effc", "#79a1ee"]}, legend: null}
        tooltip: [{field: device_type}, {field: step}, {field: visitors, format: ","}, {field: step_rate, format: ".1%"}]
    - mark: {type: text, color: "#111827"}
      encoding: {text: {field: step_rate, type: quantitative, format: ".0%"}}
*/
select device_type, step, sum(visitors)::bigint as visitors, {{ step_rate }} as step_rate
from gold.fct_funnel_daily
where date_day >= %(since)s::date and date_day < %(until)s::date
    and (%(channel)s::text is null or channel_group = %(channel)s)
group by device_type, step_number, step
order by device_type, step_number
