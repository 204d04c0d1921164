{#- Every platform's rows in one shape; what differs between platforms is in their staging models and in platforms(). #}
with spend as (

    {% for platform in warehouse_ads.platforms() -%}
    select
        '{{ platform.platform }}' as platform,
        '{{ platform.source }}' as usual_source,
        '{{ platform.medium }}' as medium,
        '{{ platform.days_in }}' as days_in,
        source_key, spent_on, account_id, account_name, campaign_id, campaign_name, objective, ad_group_id, ad_group_name,
        ad_id, ad_name, source, currency, impressions, clicks, spend, conversions, conversions_value, attribution_setting,
        unreadable, loaded_at
    from {{ ref('stg_ads__' ~ platform.platform) }}
    {% if not loop.last %}union all{% endif %}
    {% endfor %}

)

select
    platform || ':' || source_key as ad_spend_id,
    platform,
    spent_on,
    days_in,
    account_id,
    account_name,
    {{ warehouse_ads.campaign_key() }} as campaign_key,
    campaign_id,
    campaign_name,
    objective,
    ad_group_id,
    ad_group_name,
    ad_id,
    ad_name,
    coalesce(nullif(source, ''), usual_source) as source,
    medium,
    {{ warehouse.campaign_hint('campaign_name') }} as campaign_hint,
    upper(currency) as currency,
    impressions,
    clicks,
    spend,
    conversions,
    conversions_value,
    attribution_setting,
    unreadable,
    loaded_at
from spend
