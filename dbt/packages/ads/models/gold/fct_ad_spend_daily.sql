{{ config(
    materialized='incremental_by_key',
    unique_key='ad_spend_id',
    indexes=[{'columns': ['ad_spend_id'], 'unique': true}, {'columns': ['spent_on']}],
    pre_hook="{{ warehouse.find_changed(warehouse_ads.changed_spend()) }}",
) }}
select
    spend.ad_spend_id,
    spend.platform,
    spend.account_id,
    spend.campaign_key,
    spend.campaign_id,
    spend.campaign_name,
    spend.ad_group_id,
    spend.ad_id,
    {{ warehouse.channel_id('spend.source', 'spend.medium', 'spend.campaign_hint') }} as channel_id,
    spend.spent_on,
    spend.days_in,
    spend.currency,
    rates.rate as exchange_rate,
    spend.impressions,
    spend.clicks,
    spend.spend as original_spend,
    {{ warehouse.to_reporting('spend.spend', 'rates.rate', 6) }} as spend,
    spend.conversions,
    spend.conversions_value as original_conversions_value,
    {{ warehouse.to_reporting('spend.conversions_value', 'rates.rate', 6) }} as conversions_value,
    spend.attribution_setting,
    spend.is_provisional,
    spend.loaded_at as _loaded_at
from {{ ref('int_ads__spend') }} as spend
left join {{ ref('fct_exchange_rate') }} as rates on rates.currency = spend.currency and rates.date_day = spend.spent_on
where spend.spend is not null and {{ warehouse.in_calendar('spend.spent_on') }} and {{ warehouse.is_changed('spend.ad_spend_id') }}
