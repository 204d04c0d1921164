{{ config(
    materialized='incremental_by_key',
    unique_key='order_id',
    indexes=[{'columns': ['order_id']}],
    pre_hook="{{ warehouse.find_changed(warehouse_shop.changed_with_order()) }}",
) }}
with movements as (

    select
        payment_id,
        order_id,
        'sale' as kind,
        method,
        status,
        amount,
        paid_at
    from {{ ref('stg_shop__orders__payments') }}
    where amount is not null and {{ warehouse.is_changed('order_id') }}

    union all

    select
        'refund:' || refund_id,
        order_id,
        'refund',
        null,
        'refunded',
        -amount,
        refunded_at
    from {{ ref('int_shop__refunds') }}
    where amount is not null and {{ warehouse.is_changed('order_id') }}

)

select
    movements.payment_id,
    movements.order_id,
    orders.customer_id,
    movements.kind,
    movements.method,
    movements.status,
    orders.currency,
    movements.amount,
    {{ warehouse.to_reporting('movements.amount', 'orders.exchange_rate') }} as reporting_amount,
    movements.paid_at,
    coalesce({{ warehouse.calendar_day('movements.paid_at') }}, orders.ordered_on) as paid_on,
    orders._built_at as _order_built_at
from movements
inner join {{ ref('fct_order') }} as orders on orders.order_id = movements.order_id
