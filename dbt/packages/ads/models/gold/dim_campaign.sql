{#- Names as the platform last gave them. #}
select distinct on (platform, account_id, campaign_id, ad_group_id, ad_id)
    {{ warehouse_ads.campaign_key() }}
        || coalesce(':' || ad_group_id, '') || coalesce(':' || ad_id, '') as campaign_member_id,
    campaign_key,
    platform,
    account_id,
    account_name,
    campaign_id,
    campaign_name,
    objective,
    ad_group_id,
    ad_group_name,
    ad_id,
    ad_name,
    min(spent_on) over levels as first_day,
    max(spent_on) over levels as last_day
from {{ ref('int_ads__spend') }}
window levels as (partition by platform, account_id, campaign_id, ad_group_id, ad_id)
order by platform, account_id, campaign_id, ad_group_id, ad_id, spent_on desc, ad_spend_id
