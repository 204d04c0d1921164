{%- set bronze = warehouse_ads.spend_table('google_ads') -%}
{#- Google counts money in millionths. -#}
select
    {{ warehouse_ads.ad_columns(bronze,
        spent_on=warehouse.bronze_value(bronze, 'segments_date', 'date'),
        account_id=warehouse.bronze_value(bronze, ['account_id', 'customer_id'], 'text'),
        account_name=warehouse.bronze_value(bronze, 'account_name', 'text'),
        campaign_id=warehouse.bronze_value(bronze, 'campaign_id', 'text'),
        campaign_name=warehouse.bronze_value(bronze, 'campaign_name', 'text'),
        currency=warehouse.bronze_value(bronze, 'currency', 'text'),
        impressions=warehouse.bronze_value(bronze, 'impressions', 'bigint'),
        clicks=warehouse.bronze_value(bronze, 'clicks', 'bigint'),
        spend=warehouse.bronze_value(bronze, 'cost_micros', 'numeric') ~ ' * 0.000001',
        conversions=warehouse.bronze_value(bronze, 'conversions', 'numeric'),
        conversions_value=warehouse.bronze_value(bronze, 'conversions_value', 'numeric'),
        objective=warehouse.bronze_value(bronze, 'advertising_channel_type', 'text'),
        ad_group_id=warehouse.bronze_value(bronze, 'ad_group_id', 'text'),
        ad_group_name=warehouse.bronze_value(bronze, 'ad_group_name', 'text'),
        ad_id=warehouse.bronze_value(bronze, ['ad_group_ad_ad_id', 'ad_id'], 'text'),
        ad_name=warehouse.bronze_value(bronze, 'ad_name', 'text')
    ) }}
from {{ bronze.rows }}
