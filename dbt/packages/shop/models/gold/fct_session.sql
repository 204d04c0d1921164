{{ config(
    materialized='incremental_by_key',
    unique_key='session_id',
    indexes=[{'columns': ['session_id'], 'unique': true}, {'columns': ['visitor_id', 'started_at']},
             {'columns': ['customer_id']}, {'columns': ['started_on']}],
    pre_hook="{{ warehouse.find_changed(warehouse_shop.changed_sessions()) }}",
) }}
-- depends_on: {{ source('shop', 'events') }}
{% set click_ids = warehouse.click_ids() %}
with events as (

    select *
    from {{ ref('stg_shop__events') }}
    where session_id is not null and {{ warehouse.in_calendar(warehouse.reporting_date('happened_at')) }}
        and {{ warehouse.is_changed('session_id') }}

),

{#- The first event alone tells where a visit came from: later referrers are the shop's own pages and payment pages. #}
landings as (

    select
        session_id,
        visitor_id,
        device_type,
        user_agent,
        url as landing_url,
        coalesce(utm_source, lower({{ warehouse.url_parameter('url', 'utm_source') }})) as utm_source,
        coalesce(utm_medium, lower({{ warehouse.url_parameter('url', 'utm_medium') }})) as utm_medium,
        coalesce(utm_campaign, {{ warehouse.url_parameter('url', 'utm_campaign') }}) as campaign,
        coalesce(utm_id, {{ warehouse.url_parameter('url', 'utm_id') }}) as utm_id,
        {{ warehouse.url_host('referrer') }} as referrer_host,
        {{ warehouse.url_host('url') }} as landing_host,
        case
            {% for name in click_ids -%}
            when {{ warehouse.matches('url', '[?&]' ~ name ~ '=[^&#]') }} then '{{ name }}'
            {% endfor %}
        end as click_id_name
    from (
        select *, row_number() over (partition by session_id order by happened_at, event_id) as place from events
    ) as placed
    where place = 1

),

referred as (

    select
        *,
        case
            when referrer_host = landing_host
                or {{ warehouse.host_is_of('referrer_host', warehouse.setting('own_domains')) }}
                or {{ warehouse.host_is_of('referrer_host', warehouse.setting('payment_domains')) }} then null
            else referrer_host
        end as outside_host
    from landings

),

{#- What the link says comes first, then what the platform added to it, then who links. #}
origins as (

    select
        *,
        {{ warehouse.source_category('outside_host') }} as host_category,
        case click_id_name
            {% for name, values in click_ids.items() -%}
            when '{{ name }}' then '{{ values[0] }}'
            {% endfor %}
        end as click_source,
        case click_id_name
            {% for name, values in click_ids.items() -%}
            when '{{ name }}' then '{{ values[1] }}'
            {% endfor %}
        end as click_medium
    from referred

),

tagged as (

    select
        *,
        case
            when utm_source is not null then utm_source
            when click_source is not null then click_source
            when utm_medium is not null then coalesce(outside_host, '(not set)')
            when host_category = 'search'
                then coalesce({{ warehouse.matched('outside_host', '(?:^|\\.)(google|bing|yahoo|duckduckgo|ecosia|baidu|yandex|qwant|brave)(?:\\.|$)') }}, outside_host)
            else coalesce(outside_host, '(direct)')
        end as source,
        case
            when utm_medium is not null then utm_medium
            when utm_source is null and click_medium is not null then click_medium
            when utm_source is not null then '(not set)'
            when host_category = 'search' then 'organic'
            when outside_host is not null then 'referral'
            else '(none)'
        end as medium,
        {{ warehouse.campaign_hint('campaign') }} as campaign_hint
    from origins

),

visits as (

    select
        session_id,
        max(customer_id) as customer_id,
        min(happened_at) as started_at,
        max(happened_at) as ended_at,
        count(*)::integer as events,
        (count(*) filter (where event_type = 'product_view'))::integer as product_views,
        min(happened_at) filter (where event_type = 'product_view') as viewed_at,
        max(happened_at) filter (where event_type = 'add_to_cart') as carted_at,
        max(happened_at) filter (where event_type = 'checkout') as checkout_at,
        max(happened_at) filter (where event_type = 'purchase') as purchased_at,
        max(loaded_at) as loaded_at
    from events
    group by 1

)

select
    visits.session_id,
    tagged.visitor_id,
    visits.customer_id,
    {{ warehouse.reporting_date('visits.started_at') }} as started_on,
    visits.started_at,
    visits.ended_at,
    tagged.source,
    tagged.medium,
    tagged.campaign_hint,
    {{ warehouse.channel_id('tagged.source', 'tagged.medium', 'tagged.campaign_hint') }} as channel_id,
    tagged.campaign,
    tagged.utm_id,
    tagged.click_id_name,
    tagged.referrer_host,
    tagged.landing_url,
    tagged.device_type,
    coalesce({{ warehouse.matches(
        'tagged.user_agent', '(bot|crawl|spider|slurp|headless|lighthouse|pingdom|monitor)', ignore_case=true
    ) }}, false) as is_bot,
    visits.events,
    visits.product_views,
    visits.viewed_at,
    visits.carted_at,
    visits.checkout_at,
    visits.purchased_at,
    visits.carted_at is not null as reached_cart,
    visits.checkout_at is not null as reached_checkout,
    visits.purchased_at is not null as reached_purchase,
    visits.loaded_at as _loaded_at,
    now() as _built_at
from visits
inner join tagged on tagged.session_id = visits.session_id
