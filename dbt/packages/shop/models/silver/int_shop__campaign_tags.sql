{#-
  Which campaign of a platform the links' utm_campaign means: its id, or its name where only one of the platform's campaigns
  has that name. Only visits of the platform's own sources that say they were bought are looked at.
-#}
with platforms as (

    {% for platform in warehouse_ads.platforms() -%}
    {% for source in platform.sources -%}
    select '{{ platform.platform }}' as platform, '{{ source }}' as source
    {% if not loop.last %}union all{% endif %}
    {% endfor -%}
    {% if not loop.last %}union all{% endif %}
    {% endfor %}

),

tags as (

    select
        platforms.platform,
        sessions.campaign,
        sessions.utm_id,
        count(*)::bigint as sessions
    from {{ ref('fct_session') }} as sessions
    inner join {{ ref('dim_channel') }} as channels on channels.channel_id = sessions.channel_id and channels.is_paid
    inner join platforms on platforms.source = sessions.source
    where sessions.campaign is not null or sessions.utm_id is not null
    group by 1, 2, 3

),

campaigns as (

    {#- Under every name that a campaign has borne, as links keep the name that they were made with. #}
    select platform, campaign_key, campaign_id, campaign_name from {{ ref('dim_campaign') }}
    union
    select platform, campaign_key, campaign_id, campaign_name from {{ ref('fct_ad_spend_daily') }}

),

by_id as (

    select platform, campaign_id, min(campaign_key) as campaign_key from campaigns group by 1, 2 having count(distinct campaign_key) = 1

),

by_name as (

    select
        platform,
        lower(campaign_name) as campaign_name,
        min(campaign_key) as campaign_key,
        count(distinct campaign_key) as campaigns
    from campaigns
    group by 1, 2

)

select
    tags.platform,
    tags.campaign,
    tags.utm_id,
    tags.sessions,
    coalesce(
        ids.campaign_key, named_ids.campaign_key, case when by_name.campaigns = 1 then by_name.campaign_key end
    ) as campaign_key,
    case
        when ids.campaign_key is not null or named_ids.campaign_key is not null then 'id'
        when by_name.campaigns = 1 then 'name'
        when by_name.campaigns > 1 then 'name of several campaigns'
        else 'unknown to the platform'
    end as matched_by
from tags
left join by_id as ids on ids.platform = tags.platform and ids.campaign_id = tags.utm_id
left join by_id as named_ids on named_ids.platform = tags.platform and named_ids.campaign_id = tags.campaign
left join by_name on by_name.platform = tags.platform and by_name.campaign_name = lower(tags.campaign)
