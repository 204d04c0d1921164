/*
title: Net revenue and ad spend by day
question: Does spend bring revenue?
definition: Net revenue is net of VAT less refunds on the day of the refund; spend is that of every platform.
kind: chart
order: 20
needs: [gold.rpt_sales_daily, gold.rpt_channel_performance_daily]
as_of: select max(date_day) from gold.rpt_sales_daily where orders > 0
columns: {day: date, measure: text, amount: money}
chart:
  mark: {type: line, point: false}
  encoding:
    x: {field: day, type: temporal, title: null}
    y: {field: amount, type: quantitative, title: amount}
    color: {field: measure, type: nominal, title: null}
    tooltip: [{field: day, type: temporal}, {field: measure}, {field: amount, format: ",.2f"}]
*/
select date_day as day, 'net revenue' as measure, net_revenue as amount
from gold.rpt_sales_daily
where date_day >= %(since)s::date and date_day < %(until)s::date
union all
select date_day, 'ad spend', sum(spend)
from gold.rpt_channel_performance_daily
where date_day >= %(since)s::date and date_day < %(until)s::date
group by 1
order by 1, 2
