{%- set bronze = warehouse.bronze_table('ads', 'linkedin_ads') -%}
select
    bronze_rows._id as ad_spend_id,
    {{ warehouse.bronze_value(bronze, 'date', 'date') }} as spent_on,
    {{ warehouse.bronze_value(bronze, 'account_id', 'text') }} as account_id,
    {{ warehouse.bronze_value(bronze, 'campaign_group_id', 'text') }} as campaign_id,
    {{ warehouse.bronze_value(bronze, 'campaign_group_name', 'text') }} as campaign_name,
    'linkedin' as source,
    {{ warehouse.bronze_value(bronze, 'currency', 'text') }} as currency,
    {{ warehouse.bronze_value(bronze, 'impressions', 'bigint') }} as impressions,
    {{ warehouse.bronze_value(bronze, 'clicks', 'bigint') }} as clicks,
    {{ warehouse.bronze_value(bronze, 'costInLocalCurrency', 'numeric') }} as spend,
    coalesce({{ warehouse.bronze_value(bronze, 'externalWebsiteConversions', 'numeric') }}, 0) as conversions,
    coalesce({{ warehouse.bronze_value(bronze, 'conversionValueInLocalCurrency', 'numeric') }}, 0) as conversions_value
from {{ bronze.rows }}
