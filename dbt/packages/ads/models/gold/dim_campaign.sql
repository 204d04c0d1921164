with spend as (

    select
        *,
        min(spent_on) over levels as first_day,
        max(spent_on) over levels as last_day,
        {#- A campaign has one name for all its members, also for those that ended before it was renamed. #}
        first_value(campaign_name) over (
            partition by campaign_key order by campaign_name is null, spent_on desc, ad_spend_id
        ) as last_campaign_name,
        first_value(ad_group_name) over (
            partition by campaign_key, ad_group_id order by ad_group_name is null, spent_on desc, ad_spend_id
        ) as last_ad_group_name,
        row_number() over (
            partition by platform, account_id, campaign_id, ad_group_id, ad_id order by spent_on desc, ad_spend_id
        ) as place
    from {{ ref('int_ads__spend') }}
    window levels as (partition by platform, account_id, campaign_id, ad_group_id, ad_id)

),

members as (

    select * from spend where place = 1

)

{#- Names as the channel's lists have them today, else as the platform last gave them with its figures. #}
select
    members.campaign_key
        || coalesce(':' || members.ad_group_id, '') || coalesce(':' || members.ad_id, '') as campaign_member_id,
    members.campaign_key,
    members.platform,
    members.account_id,
    members.account_name,
    members.campaign_id,
    coalesce(campaigns.entity_name, members.last_campaign_name) as campaign_name,
    campaigns.status as campaign_status,
    coalesce(campaigns.objective, ad_groups.objective, members.objective) as objective,
    members.ad_group_id,
    coalesce(ad_groups.entity_name, members.last_ad_group_name) as ad_group_name,
    members.ad_id,
    coalesce(ads.entity_name, members.ad_name) as ad_name,
    members.first_day,
    members.last_day
from members
{{- warehouse_ads.join_entity('campaigns', 'campaign', 'members.campaign_id', of='members') }}
{{- warehouse_ads.join_entity('ad_groups', 'ad_group', 'members.ad_group_id', of='members') }}
{{- warehouse_ads.join_entity('ads', 'ad', 'members.ad_id', of='members') }}
