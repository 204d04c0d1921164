{#- Visitors by the day of their first look at a product, and by channel and device of the visit in which that was; each
later step counts only after the one before it and in time, in whichever visit. #}
{%- set hours = warehouse.setting('funnel_window_hours') -%}
with firsts as (

    select date_day, visitor_id, viewed_at, source, medium, campaign_hint, device_type
    from (
        select
            {{ warehouse.reporting_date('viewed_at') }} as date_day,
            visitor_id,
            viewed_at,
            {#- Empty and missing are one to the rules of channels. #}
            coalesce(source, '') as source,
            coalesce(medium, '') as medium,
            coalesce(campaign_hint, '') as campaign_hint,
            coalesce(device_type, 'unknown') as device_type,
            row_number() over (
                partition by {{ warehouse.reporting_date('viewed_at') }}, visitor_id order by viewed_at, session_id
            ) as place
        from {{ ref('fct_session') }}
        where viewed_at is not null and visitor_id is not null and not is_bot
    ) as looks
    where place = 1

),

{#- The rules are dozens of patterns: tried once for each combination, not for each visit. #}
channels as (

    select
        source,
        medium,
        campaign_hint,
        {{ warehouse.channel_group('source', 'medium', 'campaign_hint') }} as channel_group
    from (select distinct source, medium, campaign_hint from firsts) as combinations

),

viewed as (

    select firsts.date_day, firsts.visitor_id, firsts.viewed_at, channels.channel_group, firsts.device_type
    from firsts
    inner join channels
        on channels.source = firsts.source
        and channels.medium = firsts.medium
        and channels.campaign_hint = firsts.campaign_hint

),

carted as (

    select viewed.*, min(sessions.carted_at) as carted_at
    from viewed
    left join {{ ref('fct_session') }} as sessions
        on sessions.visitor_id = viewed.visitor_id
        and sessions.carted_at >= viewed.viewed_at and sessions.carted_at < viewed.viewed_at + interval '{{ hours }}' hour
    group by 1, 2, 3, 4, 5

),

checked_out as (

    select carted.*, min(sessions.checkout_at) as checkout_at
    from carted
    left join {{ ref('fct_session') }} as sessions
        on sessions.visitor_id = carted.visitor_id
        and sessions.checkout_at >= carted.carted_at and sessions.checkout_at < carted.viewed_at + interval '{{ hours }}' hour
    group by 1, 2, 3, 4, 5, 6

),

purchased as (

    select checked_out.*, min(sessions.purchased_at) as purchased_at
    from checked_out
    left join {{ ref('fct_session') }} as sessions
        on sessions.visitor_id = checked_out.visitor_id
        and sessions.purchased_at >= checked_out.checkout_at
        and sessions.purchased_at < checked_out.viewed_at + interval '{{ hours }}' hour
    group by 1, 2, 3, 4, 5, 6, 7

),

counted as (

    select
        date_day,
        channel_group,
        device_type,
        count(*)::bigint as viewed,
        count(carted_at)::bigint as carted,
        count(checkout_at)::bigint as checked_out,
        count(purchased_at)::bigint as purchased
    from purchased
    group by 1, 2, 3

)

select
    counted.date_day,
    counted.channel_group,
    counted.device_type,
    steps.step_number,
    steps.step,
    steps.visitors,
    steps.visitors_before,
    {{ warehouse_shop.metric('step_rate', 'steps') }} as step_rate
from counted
cross join lateral (
    values
    (1, 'product view', counted.viewed, counted.viewed),
    (2, 'add to cart', counted.carted, counted.viewed),
    (3, 'checkout', counted.checked_out, counted.carted),
    (4, 'purchase', counted.purchased, counted.checked_out)
) as steps (step_number, step, visitors, visitors_before)
