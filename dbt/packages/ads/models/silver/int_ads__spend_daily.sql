{%- set platforms = {
    'google_ads': 'cpc', 'meta_ads': 'paid_social', 'tiktok_ads': 'paid_social', 'linkedin_ads': 'paid_social'
} -%}
with spend as (

    {% for platform, medium in platforms.items() -%}
    select
        '{{ platform }}' as platform,
        '{{ medium }}' as usual_medium,
        *
    from {{ ref('stg_ads__' ~ platform) }}
    {% if not loop.last %}union all{% endif %}
    {% endfor %}

),

{#- The links of a campaign say its source and medium: the pair that most of its visits carried. #}
tagged as (

    select distinct on (campaign)
        campaign,
        source,
        medium
    from {{ ref('int_shop__sessions') }}
    where campaign is not null
    group by 1, 2, 3
    order by campaign, count(*) desc, source, medium

)

select
    spend.platform || ':' || spend.ad_spend_id as ad_spend_id,
    spend.platform,
    spend.spent_on,
    spend.account_id,
    spend.campaign_id,
    spend.campaign_name,
    coalesce(tagged.source, spend.source) as source,
    coalesce(tagged.medium, spend.usual_medium) as medium,
    {{ warehouse.channel_id('coalesce(tagged.source, spend.source)', 'coalesce(tagged.medium, spend.usual_medium)') }} as channel_id,
    spend.currency,
    spend.impressions,
    spend.clicks,
    spend.spend,
    spend.conversions,
    spend.conversions_value
from spend
left join tagged on tagged.campaign = spend.campaign_name
