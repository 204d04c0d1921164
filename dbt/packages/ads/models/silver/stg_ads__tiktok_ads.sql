{%- set bronze = warehouse.bronze_table('ads', 'tiktok_ads') -%}
select
    bronze_rows._id as ad_spend_id,
    {{ warehouse.bronze_value(bronze, 'stat_time_day', 'date') }} as spent_on,
    {{ warehouse.bronze_value(bronze, 'advertiser_id', 'text') }} as account_id,
    {{ warehouse.bronze_value(bronze, 'campaign_id', 'text') }} as campaign_id,
    {{ warehouse.bronze_value(bronze, 'campaign_name', 'text') }} as campaign_name,
    'tiktok' as source,
    {{ warehouse.bronze_value(bronze, 'currency', 'text') }} as currency,
    {{ warehouse.bronze_value(bronze, 'impressions', 'bigint') }} as impressions,
    {{ warehouse.bronze_value(bronze, 'clicks', 'bigint') }} as clicks,
    {{ warehouse.bronze_value(bronze, 'spend', 'numeric') }} as spend,
    coalesce({{ warehouse.bronze_value(bronze, 'complete_payment', 'numeric') }}, 0) as conversions,
    coalesce({{ warehouse.bronze_value(bronze, 'total_complete_payment_value', 'numeric') }}, 0) as conversions_value
from {{ bronze.rows }}
