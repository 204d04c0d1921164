{{ config(
    materialized='incremental_by_key',
    unique_key='order_id',
    indexes=[{'columns': ['order_id']}, {'columns': ['refunded_on']}],
    pre_hook="{{ warehouse.find_changed(warehouse_shop.changed_with_order('refunded <> 0')) }}",
) }}
with refunds as (

    select
        *,
        sum(amount) over (partition by order_id order by position) as running,
        sum(amount) over (partition by order_id) as order_amount
    from {{ ref('int_shop__refunds') }}
    where amount is not null and {{ warehouse.is_changed('order_id') }}

),

returns as (

    select refund_id, sum(quantity)::bigint as quantity, sum(amount) as amount
    from {{ ref('int_shop__refund_items') }}
    where {{ warehouse.is_changed('order_id') }}
    group by 1

)

select
    refunds.refund_id,
    refunds.order_id,
    orders.customer_id,
    {#- A refund that names no day of the calendar counts on the order's. #}
    coalesce({{ warehouse.calendar_day('refunds.refunded_at') }}, orders.ordered_on) as refunded_on,
    refunds.refunded_at,
    orders.ordered_on,
    refunds.reason,
    orders.currency,
    refunds.amount,
    coalesce(returns.quantity, 0) as returned_units,
    coalesce(returns.amount, 0) as returned_amount,
    {#- At the rate of the order, so that an order refunded in full leaves nothing. #}
    coalesce({{ warehouse.share('orders.refunded_revenue', 'refunds.running', 'refunds.amount', 'refunds.order_amount') }}, 0)
        as refunded_revenue,
    orders._built_at as _order_built_at
from refunds
inner join {{ ref('fct_order') }} as orders on orders.order_id = refunds.order_id
left join returns on returns.refund_id = refunds.refund_id
where orders.refunded <> 0
