with refunds as (

    select order_id, sum(amount) as refunded
    from {{ ref('int_shop__refunds') }}
    group by 1

),

items as (

    select order_id, count(*)::integer as item_count, sum(quantity)::bigint as units
    from {{ ref('stg_shop__orders__items') }}
    group by 1

)

select
    orders.order_id,
    orders.order_number,
    coalesce(customers.customer_id, 'unknown') as customer_id,
    coalesce(sessions.channel_id, '(unattributed) / (none)') as channel_id,
    sessions.campaign,
    (orders.placed_at at time zone 'UTC')::date as ordered_on,
    orders.placed_at,
    orders.status,
    orders.currency,
    orders.coupon,
    orders.subtotal,
    orders.discount,
    orders.shipping,
    orders.tax,
    orders.total,
    coalesce(refunds.refunded, 0) as refunded,
    orders.total - coalesce(refunds.refunded, 0) as net_revenue,
    coalesce(items.item_count, 0) as item_count,
    coalesce(items.units, 0) as units,
    {#- Counted by the customer as the order names it, so that a deleted customer's orders are still numbered. #}
    (row_number() over (partition by orders.customer_id order by orders.placed_at, orders.order_id))::integer
        as customer_order_number
from {{ ref('stg_shop__orders') }} as orders
left join {{ ref('stg_shop__customers') }} as customers on customers.customer_id = orders.customer_id
left join {{ ref('int_shop__sessions') }} as sessions on sessions.session_id = orders.session_id
left join refunds on refunds.order_id = orders.order_id
left join items on items.order_id = orders.order_id
