/*
title: What platforms claim against what the shop sold
question: How much do the platforms claim for themselves?
definition: Claimed value is as the platform reports it; net revenue is that of the shop's orders by the last non-direct visit.
order: 20
needs: [gold.fct_ad_spend_daily, gold.fct_attribution]
as_of: select max(spent_on) from gold.fct_ad_spend_daily
columns:
  channel_group: {title: channel}
  spend: money
  claimed: {title: claimed conversions, format: number}
  claimed_value: {title: claimed value, format: money}
  orders: {title: orders of the shop, format: count}
  net_revenue: {title: net revenue of the shop, format: money}
*/
with claimed as (
    select channels.channel_group, sum(s.spend) as spend, sum(s.conversions) as claimed, sum(s.conversions_value) as claimed_value
    from gold.fct_ad_spend_daily as s
    inner join gold.dim_channel as channels on channels.channel_id = s.channel_id
    where s.spent_on >= %(since)s::date and s.spent_on < %(until)s::date
    group by 1
),

earned as (
    select channels.channel_group, sum(a.weight) as orders, sum(a.net_revenue) as net_revenue
    from gold.fct_attribution as a
    inner join gold.dim_channel as channels on channels.channel_id = a.channel_id
    where a.attribution_model = 'last_non_direct' and a.ordered_on >= %(since)s::date and a.ordered_on < %(until)s::date
    group by 1
)

select channel_group, claimed.spend, claimed.claimed, claimed.claimed_value, earned.orders, earned.net_revenue
from claimed
left join earned using (channel_group)
order by claimed.spend desc nulls last
