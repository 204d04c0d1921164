{#- Refunds stay inside their order as JSON in bronze; here each is a row. #}
select
    orders.order_id || ':' || (refund.position - 1) as refund_id,
    orders.order_id,
    (refund.position - 1)::integer as position,
    {{ warehouse.cast_extended_json("refund.value -> 'amount'", 'numeric') }} as amount,
    refund.value ->> 'reason' as reason,
    {{ warehouse.cast_extended_json("refund.value -> 'refunded_at'", 'timestamptz') }} as refunded_at
from {{ ref('stg_shop__orders') }} as orders
cross join lateral jsonb_array_elements(
    case when jsonb_typeof(orders.refunds) = 'array' then orders.refunds else '[]' end
) with ordinality as refund (value, position)
