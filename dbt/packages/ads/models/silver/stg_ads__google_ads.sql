{%- set bronze = warehouse.bronze_table('ads', 'google_ads') -%}
select
    bronze_rows._id as ad_spend_id,
    {{ warehouse.bronze_value(bronze, 'segments_date', 'date') }} as spent_on,
    {{ warehouse.bronze_value(bronze, 'customer_id', 'text') }} as account_id,
    {{ warehouse.bronze_value(bronze, 'campaign_id', 'text') }} as campaign_id,
    {{ warehouse.bronze_value(bronze, 'campaign_name', 'text') }} as campaign_name,
    'google' as source,
    {{ warehouse.bronze_value(bronze, 'currency', 'text') }} as currency,
    {{ warehouse.bronze_value(bronze, 'impressions', 'bigint') }} as impressions,
    {{ warehouse.bronze_value(bronze, 'clicks', 'bigint') }} as clicks,
    {#- Google counts money in millionths. #}
    {{ warehouse.bronze_value(bronze, 'cost_micros', 'numeric') }} / 1000000 as spend,
    coalesce({{ warehouse.bronze_value(bronze, 'conversions', 'numeric') }}, 0) as conversions,
    coalesce({{ warehouse.bronze_value(bronze, 'conversions_value', 'numeric') }}, 0) as conversions_value
from {{ bronze.rows }}
