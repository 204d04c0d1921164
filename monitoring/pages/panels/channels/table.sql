/*
title: Channels
question: Where to put the next euro?
definition: Sums over the period; ratios are made from these sums. Revenue is that of the model of attribution in use.
order: 10
needs: [gold.rpt_channel_performance_daily]
as_of: select max(date_day) from gold.rpt_channel_performance_daily where sessions > 0
filters:
  channel: select distinct channel_group from gold.dim_channel order by 1
columns:
  channel_group: {title: channel}
  sessions: count
  orders: count
  conversion_rate: {title: orders per session, format: percent}
  new_customers: {title: new customers, format: count}
  net_revenue: {title: net revenue, format: money, definition: Net of VAT and refunds.}
  spend: money
  roas: {title: ROAS, format: ratio, definition: Net revenue / spend.}
  cac: {title: CAC, format: money, definition: Spend / new customers.}
  click_rate: {title: CTR, format: percent, definition: Clicks / impressions.}
  cost_per_click: {title: CPC, format: money, definition: Spend / clicks.}
*/
select channel_group, sum(sessions)::bigint as sessions, sum(orders) as orders,
    sum(orders)::numeric / nullif(sum(sessions), 0) as conversion_rate, sum(new_customers) as new_customers,
    sum(net_revenue) as net_revenue, sum(spend) as spend,
    round(sum(net_revenue) / nullif(sum(spend), 0), 2) as roas,
    round(nullif(sum(spend), 0) / nullif(sum(new_customers), 0), 2) as cac,
    sum(clicks)::numeric / nullif(sum(impressions), 0) as click_rate,
    round(sum(spend) / nullif(sum(clicks), 0), 2) as cost_per_click
from gold.rpt_channel_performance_daily
where date_day >= %(since)s::date and date_day < %(until)s::date
    and (%(channel)s::text is null or channel_group = %(channel)s)
group by channel_group
order by net_revenue desc
