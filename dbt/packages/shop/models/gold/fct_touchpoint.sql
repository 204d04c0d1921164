{{ config(
    materialized='incremental_by_key',
    unique_key='order_id',
    indexes=[{'columns': ['order_id']}, {'columns': ['session_id']}, {'columns': ['visitor_id']}, {'columns': ['customer_id']}],
    pre_hook="{{ warehouse.find_changed(warehouse_shop.changed_touchpoints()) }}",
) }}
with orders as (

    select order_id, customer_id, session_id, placed_at, ordered_on, _built_at
    from {{ ref('fct_order') }}
    where is_counted and {{ warehouse.is_changed('order_id') }}

),

{#- The visits of the buyer: the order's own, those in which the buyer was known, those on a browser of the buyer's. Each
brings all that is needed of it: to look its session up once more, Postgres would first join orders and sessions by time. #}
{%- set visit -%}
    orders.order_id,
        orders.placed_at,
        sessions.session_id,
        sessions.visitor_id,
        sessions.started_at,
        sessions.channel_id,
        sessions.source,
        sessions.campaign,
        sessions._built_at as session_built_at
{%- endset %}
{%- set in_time -%}
    not sessions.is_bot
        and sessions.started_at <= orders.placed_at
        and sessions.started_at >= orders.placed_at - interval '{{ warehouse.setting('attribution_lookback_days') }}' day
{%- endset %}
visits as (

    select
        {{ visit }}
    from orders
    inner join {{ ref('fct_session') }} as sessions on sessions.session_id = orders.session_id
    where {{ in_time }}
    union
    select
        {{ visit }}
    from orders
    inner join {{ ref('fct_session') }} as sessions on sessions.customer_id = orders.customer_id
    where orders.customer_id <> 'unknown'
        and {{ in_time }}
    union
    select
        {{ visit }}
    from orders
    inner join {{ ref('int_shop__visitors') }} as visitors on visitors.customer_id = orders.customer_id
    inner join {{ ref('fct_session') }} as sessions
        on sessions.visitor_id = visitors.visitor_id and sessions.customer_id is null
    where {{ in_time }}

),

touches as (

    select
        *,
        row_number() over later as touches_to_go,
        row_number() over earlier as touch_number,
        count(*) over (partition by order_id) as touches,
        {#- Of an order whose visits were all direct, the last one. #}
        row_number() over (
            partition by order_id order by (source = '(direct)'), started_at desc, session_id desc
        ) as from_last_non_direct,
        power(
            0.5::numeric,
            {{ warehouse.hours_between('started_at', 'placed_at') }}
            / {{ warehouse.setting('attribution_half_life_hours') }}
        ) as decay
    from visits
    window
        earlier as (partition by order_id order by started_at, session_id),
        later as (partition by order_id order by started_at desc, session_id desc)

),

weighed as (

    select
        *,
        sum(decay) over (partition by order_id order by touch_number) as running_decay,
        sum(decay) over (partition by order_id) as whole_decay
    from touches

)

select
    orders.order_id || ':' || coalesce(weighed.touch_number, 0) as touchpoint_id,
    orders.order_id,
    orders.customer_id,
    orders.ordered_on,
    orders.placed_at,
    weighed.session_id,
    weighed.visitor_id,
    weighed.started_at,
    coalesce(weighed.channel_id, '(unattributed) / (none)') as channel_id,
    weighed.source,
    weighed.campaign,
    coalesce(weighed.touch_number, 0)::integer as touch_number,
    coalesce(weighed.touches, 0)::integer as touches,
    {#- An order without a known visit has one row of weight 1, so that every model gives away every order. #}
    case when weighed.touch_number is null or weighed.touch_number = 1 then 1 else 0 end::numeric as first_touch,
    case when weighed.touch_number is null or weighed.touches_to_go = 1 then 1 else 0 end::numeric as last_touch,
    case when weighed.touch_number is null or weighed.from_last_non_direct = 1 then 1 else 0 end::numeric as last_non_direct,
    coalesce({{ warehouse.share('1', 'weighed.touch_number', '1', 'weighed.touches', 12) }}, 1) as linear,
    case
        when weighed.touch_number is null or weighed.touches = 1 then 1
        when weighed.touches = 2 then 0.5
        when weighed.touch_number in (1, weighed.touches) then 0.4
        else {{ warehouse.share('0.2', '(weighed.touch_number - 1)', '1', '(weighed.touches - 2)', 12) }}
    end as position_based,
    coalesce({{ warehouse.share('1', 'weighed.running_decay', 'weighed.decay', 'weighed.whole_decay', 12) }}, 1) as time_decay,
    orders._built_at as _order_built_at,
    weighed.session_built_at as _session_built_at
from orders
left join weighed on weighed.order_id = orders.order_id
