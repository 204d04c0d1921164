{%- set bronze = warehouse_ads.spend_table('tiktok_ads') -%}
select
    {{ warehouse_ads.ad_columns(bronze,
        spent_on=warehouse.bronze_value(bronze, 'stat_time_day', 'date'),
        account_id=warehouse.bronze_value(bronze, ['account_id', 'advertiser_id'], 'text'),
        campaign_id=warehouse.bronze_value(bronze, 'campaign_id', 'text'),
        campaign_name=warehouse.bronze_value(bronze, 'campaign_name', 'text'),
        currency=warehouse.bronze_value(bronze, 'currency', 'text'),
        impressions=warehouse.bronze_value(bronze, 'impressions', 'bigint'),
        clicks=warehouse.bronze_value(bronze, 'clicks', 'bigint'),
        spend=warehouse.bronze_value(bronze, 'spend', 'numeric'),
        conversions=warehouse.bronze_value(bronze, 'complete_payment', 'numeric'),
        conversions_value=warehouse.bronze_value(bronze, 'total_complete_payment_value', 'numeric'),
        objective=warehouse.bronze_value(bronze, 'objective_type', 'text'),
        ad_group_id=warehouse.bronze_value(bronze, 'adgroup_id', 'text'),
        ad_group_name=warehouse.bronze_value(bronze, 'adgroup_name', 'text'),
        ad_id=warehouse.bronze_value(bronze, 'ad_id', 'text'),
        ad_name=warehouse.bronze_value(bronze, 'ad_name', 'text')
    ) }}
from {{ bronze.rows }}
