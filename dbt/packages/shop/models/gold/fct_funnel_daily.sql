{#- Visitors by the day of their first look at a product; each later step counts only after the one before it and in time. #}
{%- set hours = warehouse.setting('funnel_window_hours') -%}
with viewed as (

    select {{ warehouse.reporting_date('viewed_at') }} as date_day, visitor_id, min(viewed_at) as viewed_at
    from {{ ref('fct_session') }}
    where viewed_at is not null and visitor_id is not null and not is_bot
    group by 1, 2

),

carted as (

    select viewed.*, min(sessions.carted_at) as carted_at
    from viewed
    left join {{ ref('fct_session') }} as sessions
        on sessions.visitor_id = viewed.visitor_id
        and sessions.carted_at >= viewed.viewed_at and sessions.carted_at < viewed.viewed_at + interval '{{ hours }}' hour
    group by 1, 2, 3

),

checked_out as (

    select carted.*, min(sessions.checkout_at) as checkout_at
    from carted
    left join {{ ref('fct_session') }} as sessions
        on sessions.visitor_id = carted.visitor_id
        and sessions.checkout_at >= carted.carted_at and sessions.checkout_at < carted.viewed_at + interval '{{ hours }}' hour
    group by 1, 2, 3, 4

),

purchased as (

    select checked_out.*, min(sessions.purchased_at) as purchased_at
    from checked_out
    left join {{ ref('fct_session') }} as sessions
        on sessions.visitor_id = checked_out.visitor_id
        and sessions.purchased_at >= checked_out.checkout_at
        and sessions.purchased_at < checked_out.viewed_at + interval '{{ hours }}' hour
    group by 1, 2, 3, 4, 5

),

counted as (

    select
        date_day,
        count(*)::bigint as viewed,
        count(carted_at)::bigint as carted,
        count(checkout_at)::bigint as checked_out,
        count(purchased_at)::bigint as purchased
    from purchased
    group by 1

)

select
    counted.date_day,
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
