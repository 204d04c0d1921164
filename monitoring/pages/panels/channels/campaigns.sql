/*
title: Campaigns
question: Which campaigns cost, and what do the platforms claim for them?
definition: Conversions are what the platform claims, not orders of the shop; platforms count the same order twice.
order: 30
needs: [gold.fct_ad_spend_daily]
as_of: select max(spent_on) from gold.fct_ad_spend_daily
columns:
  platform: text
  campaign_name: {title: campaign}
  spend: money
  impressions: count
  clicks: count
  click_rate: {title: CTR, format: percent}
  cost_per_click: {title: CPC, format: money}
  claimed: {title: claimed conversions, format: number}
  claimed_value: {title: claimed value, format: money}
  claimed_roas: {title: claimed ROAS, format: ratio}
*/
select platform, campaign_name, sum(spend) as spend, sum(impressions)::bigint as impressions,
    sum(clicks)::bigint as clicks, {{ click_rate }} as click_rate, {{ cost_per_click }} as cost_per_click,
    sum(conversions) as claimed, sum(claimed_revenue) as claimed_value, {{ claimed_return_on_ad_spend }} as claimed_roas
from (select *, conversions_value as claimed_revenue from gold.fct_ad_spend_daily) as spend_daily
where spent_on >= %(since)s::date and spent_on < %(until)s::date
group by platform, campaign_id, campaign_name
order by spend desc nulls last
limit 200
