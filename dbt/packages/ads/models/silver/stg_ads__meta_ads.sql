{%- set bronze = warehouse.bronze_table('ads', 'meta_ads') -%}
select
    bronze_rows._id as ad_spend_id,
    {{ warehouse.bronze_value(bronze, 'date_start', 'date') }} as spent_on,
    {{ warehouse.bronze_value(bronze, 'account_id', 'text') }} as account_id,
    {{ warehouse.bronze_value(bronze, 'campaign_id', 'text') }} as campaign_id,
    {{ warehouse.bronze_value(bronze, 'campaign_name', 'text') }} as campaign_name,
    lower({{ warehouse.bronze_value(bronze, 'publisher_platform', 'text') }}) as source,
    {{ warehouse.bronze_value(bronze, 'account_currency', 'text') }} as currency,
    {{ warehouse.bronze_value(bronze, 'impressions', 'bigint') }} as impressions,
    {{ warehouse.bronze_value(bronze, 'inline_link_clicks', 'bigint') }} as clicks,
    {{ warehouse.bronze_value(bronze, 'spend', 'numeric') }} as spend,
    coalesce({{ warehouse.bronze_value(bronze, 'purchases', 'numeric') }}, 0) as conversions,
    coalesce({{ warehouse.bronze_value(bronze, 'purchase_value', 'numeric') }}, 0) as conversions_value
from {{ bronze.rows }}
