/*
title: Retention by month of the first order
question: Do customers come back?
definition: Share of a cohort's customers with an order in the n-th month after their first.
kind: chart
order: 10
needs: [gold.rpt_customer_cohort]
as_of: select max(date_day) from gold.rpt_sales_daily where orders > 0
columns: {cohort: month, month_number: {title: months after, format: count}, retention: percent, customers: count}
chart:
  mark: {type: rect}
  height: {step: 18}
  encoding:
    x: {field: month_number, type: ordinal, title: months after the first order, axis: {labelAngle: 0}}
    y: {field: cohort, type: ordinal, title: null, axis: {labelExpr: "slice(datum.label, 0, 7)", labelOverlap: false}}
    opacity: {field: retention, type: quantitative, scale: {range: [0.06, 1]}, legend: {format: ".0%", title: retention}}
    color: {value: $accent}
    tooltip: [{field: cohort}, {field: month_number}, {field: retention, format: ".1%"}, {field: customers}]
*/
select cohort_month as cohort, month_number, retention, active_customers as customers
from gold.rpt_customer_cohort
where month_number between 1 and 24
order by 1, 2
