/*
title: Net revenue and ad spend by day
question: Does spend bring revenue?
definition: Net revenue is net of VAT less refunds on the day of the refund; spend is that of every platform. Each has an axis of its own.
kind: chart
order: 20
needs: [gold.rpt_sales_daily, gold.rpt_channel_performance_daily]
as_of: select max(date_day) from gold.rpt_sales_daily where orders > 0
columns: {day: date, net_revenue: {title: net revenue, format: money}, spend: {title: ad spend, format: money}}
chart:
  encoding: {x: {field: day, type: temporal, title: null, axis: {format: "%b %d"}}}
  resolve: {scale: {y: independent}}
  layer:
    - mark: {type: line, color: $accent}
      encoding:
        y: {field: net_revenue, type: quantitative, title: net revenue, axis: {titleColor: $accent, tickCount: 5}}
        tooltip: [{field: day, type: temporal}, {field: net_revenue, format: ",.2f"}, {field: spend, format: ",.2f"}]
    - mark: {type: line, color: $late}
      encoding:
        y: {field: spend, type: quantitative, title: ad spend, axis: {titleColor: $late, tickCount: 5, grid: false}}
        tooltip: [{field: day, type: temporal}, {field: net_revenue, format: ",.2f"}, {field: spend, format: ",.2f"}]
*/
with spent as (
    select date_day, sum(spend) as spend
    from gold.rpt_channel_performance_daily
    where date_day >= %(since)s::date and date_day < %(until)s::date
    group by 1
)

select date_day as day, sales.net_revenue, coalesce(spent.spend, 0) as spend
from gold.rpt_sales_daily as sales
left join spent using (date_day)
where date_day >= %(since)s::date and date_day < %(until)s::date
order by 1
