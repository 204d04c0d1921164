{{ config(materialized='table', indexes=[{'columns': ['session_id'], 'unique': true}]) }}
with landings as (

    {#- The first event of a visit that tells where it came from; a visit without one was direct. #}
    select distinct on (session_id)
        session_id,
        lower(utm_source) as utm_source,
        lower(utm_medium) as utm_medium,
        utm_campaign,
        substring(referrer from '^https?://(?:www\.)?([^/:?#]+)') as referrer_host,
        url as landing_url
    from {{ ref('stg_shop__events') }}
    order by session_id, (utm_source is null and referrer is null), happened_at, event_id

),

visits as (

    select
        session_id,
        min(visitor_id) as visitor_id,
        max(customer_id) as customer_id,
        min(happened_at) as started_at,
        max(happened_at) as ended_at,
        count(*)::integer as events,
        (count(*) filter (where event_type = 'product_view'))::integer as product_views,
        bool_or(event_type = 'add_to_cart') as reached_cart,
        bool_or(event_type = 'checkout') as reached_checkout,
        bool_or(event_type = 'purchase') as reached_purchase
    from {{ ref('stg_shop__events') }}
    where session_id is not null
    group by 1

),

channels as (

    select
        session_id,
        landing_url,
        utm_campaign as campaign,
        case
            when utm_source is not null then utm_source
            when referrer_host ~ '^(google|bing|duckduckgo|ecosia|yahoo)\.' then split_part(referrer_host, '.', 1)
            when referrer_host is not null then referrer_host
            else '(direct)'
        end as source,
        case
            when utm_source is not null then coalesce(utm_medium, '(not set)')
            when referrer_host ~ '^(google|bing|duckduckgo|ecosia|yahoo)\.' then 'organic'
            when referrer_host is not null then 'referral'
            else '(none)'
        end as medium
    from landings

)

select
    visits.session_id,
    visits.visitor_id,
    visits.customer_id,
    visits.started_at,
    visits.ended_at,
    channels.source,
    channels.medium,
    {{ warehouse.channel_id('channels.source', 'channels.medium') }} as channel_id,
    channels.campaign,
    channels.landing_url,
    visits.events,
    visits.product_views,
    visits.reached_cart,
    visits.reached_checkout,
    visits.reached_purchase
from visits
inner join channels on channels.session_id = visits.session_id
