{#- Refunds stay inside their order in bronze; here each is a row. Without `with`, as in int_shop__orders. -#}
select
    order_id || ':' || position as refund_id,
    order_id,
    position,
    amount,
    reason,
    items,
    refunded_at
from (
    select
        orders.order_id,
        (refund.place - 1)::integer as position,
        {{ warehouse_shop.refund_amount('refund.value') }} as amount,
        {{ warehouse.json_field('refund.value', 'reason', as_text=true) }} as reason,
        {{ warehouse.json_array_or_empty(warehouse.json_field('refund.value', 'items')) }} as items,
        {{ warehouse.cast_extended_json(warehouse.json_field('refund.value', 'refunded_at'), 'timestamptz') }} as refunded_at
    from {{ ref('stg_shop__orders') }} as orders
    cross join lateral {{ warehouse.json_elements('orders.refunds', 'refund') }}
) as refunds
