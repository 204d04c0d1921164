select
    ad_spend_id,
    platform,
    account_id,
    campaign_id,
    campaign_name,
    channel_id,
    spent_on,
    currency,
    impressions,
    clicks,
    spend,
    conversions,
    conversions_value
from {{ ref('int_ads__spend_daily') }}
