{%- set bronze = warehouse_ads.spend_table('meta_ads') -%}
select
    {{ warehouse_ads.ad_columns(bronze,
        spent_on=warehouse.bronze_value(bronze, 'date_start', 'date'),
        account_id=warehouse.bronze_value(bronze, 'account_id', 'text'),
        campaign_id=warehouse.bronze_value(bronze, 'campaign_id', 'text'),
        campaign_name=warehouse.bronze_value(bronze, 'campaign_name', 'text'),
        currency=warehouse.bronze_value(bronze, 'account_currency', 'text'),
        impressions=warehouse.bronze_value(bronze, 'impressions', 'bigint'),
        clicks=warehouse.bronze_value(bronze, 'inline_link_clicks', 'bigint'),
        spend=warehouse.bronze_value(bronze, 'spend', 'numeric'),
        conversions=warehouse.bronze_value(bronze, 'purchases', 'numeric'),
        conversions_value=warehouse.bronze_value(bronze, 'purchase_value', 'numeric'),
        source='lower(' ~ warehouse.bronze_value(bronze, 'publisher_platform', 'text') ~ ')',
        objective=warehouse.bronze_value(bronze, 'objective', 'text'),
        ad_group_id=warehouse.bronze_value(bronze, 'adset_id', 'text'),
        ad_group_name=warehouse.bronze_value(bronze, 'adset_name', 'text'),
        ad_id=warehouse.bronze_value(bronze, 'ad_id', 'text'),
        ad_name=warehouse.bronze_value(bronze, 'ad_name', 'text'),
        attribution_setting=warehouse.bronze_value(bronze, ['attribution', 'attribution_setting'], 'text')
    ) }}
from {{ bronze.rows }}
