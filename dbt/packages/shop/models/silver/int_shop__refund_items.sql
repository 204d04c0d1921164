{#- What came back with a refund that says so; an amount may be paid back without anything coming back. -#}
select
    refund_id || ':' || place as refund_item_id,
    refund_id,
    order_id,
    position,
    greatest(coalesce(quantity, 0), 0) as quantity,
    greatest(coalesce(amount, 0), 0) as amount
from (
    select
        refunds.refund_id,
        refunds.order_id,
        (item.place - 1)::integer as place,
        {{ warehouse.cast_extended_json(warehouse.json_field('item.value', 'position'), 'integer') }} as position,
        {{ warehouse.cast_extended_json(warehouse.json_field('item.value', 'quantity'), 'bigint') }} as quantity,
        {{ warehouse.cast_extended_json(warehouse.json_field('item.value', 'amount'), 'numeric') }} as amount
    from {{ ref('int_shop__refunds') }} as refunds
    cross join lateral {{ warehouse.json_elements('refunds.items', 'item') }}
    where refunds.amount is not null
) as items
where position is not null
