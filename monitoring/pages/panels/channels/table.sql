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
  net_revenue: {title: net revenue, format: money}
  spend: money
  roas: {title: ROAS, format: ratio}
  cac: {title: CAC, format: money, definition: Ad spend / new customers; none where nothing was spent.}
  click_rate: {title: CTR, format: percent}
  cost_per_click: {title: CPC, format: money}
*/
select channel_group, sum(sessions)::bigint as sessions, sum(orders) as orders,
    {{ conversion_rate }} as conversion_rate, sum(new_customers) as new_customers,
    sum(net_revenue) as net_revenue, {{ spend }} as spend, {{ return_on_ad_spend }} as roas, case when {{ spend }} > 0 then {{ acquisition_cost }} end as cac,
    {{ click_rate }} as click_rate, {{ cost_per_click }} as cost_per_click
from gold.rpt_channel_performance_daily
where date_day >= %(since)s::date and date_day < %(until)s::date
    and (%(channel)s::text is null or channel_group = %(channel)s)
group by channel_group
order by net_revenue desc
