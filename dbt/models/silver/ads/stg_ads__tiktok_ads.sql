{%- set bronze = bronze_table('ads', 'tiktok_ads') -%}
select
    bronze_rows._id as ad_spend_id,
    {{ bronze_value(bronze, 'stat_time_day', 'date') }} as spent_on,
    {{ bronze_value(bronze, 'advertiser_id', 'text') }} as account_id,
    {{ bronze_value(bronze, 'campaign_id', 'text') }} as campaign_id,
    {{ bronze_value(bronze, 'campaign_name', 'text') }} as campaign_name,
    'tiktok' as source,
    {{ bronze_value(bronze, 'currency', 'text') }} as currency,
    {{ bronze_value(bronze, 'impressions', 'bigint') }} as impressions,
    {{ bronze_value(bronze, 'clicks', 'bigint') }} as clicks,
    {{ bronze_value(bronze, 'spend', 'numeric') }} as spend,
    coalesce({{ bronze_value(bronze, 'complete_payment', 'numeric') }}, 0) as conversions,
    coalesce({{ bronze_value(bronze, 'total_complete_payment_value', 'numeric') }}, 0) as conversions_value
from {{ bronze.rows }}
