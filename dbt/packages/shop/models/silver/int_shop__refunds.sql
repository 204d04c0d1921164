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
        (refund.position - 1)::integer as position,
        {{ warehouse_shop.refund_amount('refund.value') }} as amount,
        refund.value ->> 'reason' as reason,
        {{ warehouse_shop.refund_items('refund.value') }} as items,
        {{ warehouse.cast_extended_json("refund.value -> 'refunded_at'", 'timestamptz') }} as refunded_at
    from {{ ref('stg_shop__orders') }} as orders
    cross join lateral jsonb_array_elements(orders.refunds) with ordinality as refund (value, position)
) as refunds
