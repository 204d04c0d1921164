{#-
  Every platform's rows in one shape; what differs between platforms is in their staging models and in platforms(). What a
  row does not say of its ad, its group and its campaign is taken from the channel's lists: LinkedIn tells ids alone.
-#}
with spend as (

    {% for platform in warehouse_ads.platforms() -%}
    select
        '{{ platform.platform }}' as platform,
        '{{ platform.source }}' as usual_source,
        '{{ platform.medium }}' as medium,
        '{{ platform.days_in }}' as days_in,
        source_key, spent_on, account_id, account_name, campaign_id, campaign_name, objective, ad_group_id, ad_group_name,
        ad_id, ad_name, source, currency, impressions, clicks, spend, conversions, conversions_value, attribution_setting,
        read_from, unreadable, loaded_at
    from {{ ref('stg_ads__' ~ platform.platform) }}
    {% if not loop.last %}union all{% endif %}
    {% endfor %}

),

named as (

    select
        spend.platform || ':' || spend.source_key as ad_spend_id,
        spend.platform,
        spend.spent_on,
        spend.days_in,
        days.status = 'provisional' as is_provisional,
        spend.account_id,
        spend.account_name,
        coalesce(spend.campaign_id, ad_groups.parent_id, 'unknown') as campaign_id,
        coalesce(spend.campaign_name, campaigns.entity_name) as campaign_name,
        coalesce(spend.objective, campaigns.objective) as objective,
        coalesce(spend.ad_group_id, ads.parent_id) as ad_group_id,
        coalesce(spend.ad_group_name, ad_groups.entity_name) as ad_group_name,
        spend.ad_id,
        coalesce(spend.ad_name, ads.entity_name) as ad_name,
        coalesce(nullif(spend.source, ''), spend.usual_source) as source,
        spend.medium,
        upper(spend.currency) as currency,
        spend.impressions,
        spend.clicks,
        spend.spend,
        spend.conversions,
        spend.conversions_value,
        spend.attribution_setting,
        spend.read_from,
        spend.unreadable,
        spend.loaded_at
    from spend
    {{- warehouse_ads.join_entity('ads', 'ad', 'spend.ad_id') }}
    {{- warehouse_ads.join_entity('ad_groups', 'ad_group', 'coalesce(spend.ad_group_id, ads.parent_id)') }}
    {{- warehouse_ads.join_entity('campaigns', 'campaign', 'coalesce(spend.campaign_id, ad_groups.parent_id)') }}
    {#- What each pull of a channel said of its days; files say nothing. #}
    left join ops.account_days as days
        on days.source || '__' || days.table_name = spend.read_from
        and days.account = spend.account_id and days.day = spend.spent_on

)

select
    *,
    {{ warehouse_ads.campaign_key() }} as campaign_key,
    {{ warehouse.campaign_hint('campaign_name') }} as campaign_hint
from named
