/*
title: Net revenue by channel and week
question: Which channel grows?
definition: Net of VAT and refunds, by week from Monday.
kind: chart
order: 20
needs: [gold.rpt_channel_performance_daily]
columns: {week: date, channel_group: {title: channel}, net_revenue: money, spend: money}
chart:
  mark: {type: bar}
  encoding:
    x: {field: week, type: ordinal, title: null, axis: {labelExpr: "slice(datum.label, 5)", labelAngle: -60}}
    y: {field: net_revenue, type: quantitative, title: net revenue}
    color: {field: channel_group, type: nominal, title: null}
    tooltip: [{field: week}, {field: channel_group}, {field: net_revenue, format: ",.2f"}, {field: spend, format: ",.2f"}]
*/
select date_trunc('week', date_day)::date as week, channel_group, sum(net_revenue) as net_revenue, sum(spend) as spend
from gold.rpt_channel_performance_daily
where date_day >= %(since)s::date and date_day < %(until)s::date
    and (%(channel)s::text is null or channel_group = %(channel)s)
group by 1, 2
order by 1, 2
