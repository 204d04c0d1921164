{%- set bronze = warehouse_ads.spend_table('linkedin_ads') -%}
select
    {{ warehouse_ads.ad_columns(bronze,
        spent_on=warehouse.bronze_value(bronze, 'date', 'date'),
        account_id=warehouse.bronze_value(bronze, 'account_id', 'text'),
        campaign_id=warehouse.bronze_value(bronze, 'campaign_group_id', 'text'),
        campaign_name=warehouse.bronze_value(bronze, 'campaign_group_name', 'text'),
        currency=warehouse.bronze_value(bronze, 'currency', 'text'),
        impressions=warehouse.bronze_value(bronze, 'impressions', 'bigint'),
        clicks=warehouse.bronze_value(bronze, 'clicks', 'bigint'),
        spend=warehouse.bronze_value(bronze, 'costInLocalCurrency', 'numeric'),
        conversions=warehouse.bronze_value(bronze, 'externalWebsiteConversions', 'numeric'),
        conversions_value=warehouse.bronze_value(bronze, 'conversionValueInLocalCurrency', 'numeric'),
        ad_group_id=warehouse.bronze_value(bronze, 'campaign_id', 'text'),
        ad_group_name=warehouse.bronze_value(bronze, 'campaign_name', 'text'),
        ad_id=warehouse.bronze_value(bronze, 'creative_id', 'text')
    ) }}
from {{ bronze.rows }}
