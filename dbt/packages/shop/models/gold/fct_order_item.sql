select
    items.order_item_id,
    items.order_id,
    items.position,
    orders.customer_id,
    coalesce(products.product_id, 'unknown') as product_id,
    orders.channel_id,
    orders.ordered_on,
    items.sku,
    items.product_name,
    items.quantity,
    items.unit_price,
    items.quantity * items.unit_price as gross_amount,
    items.discount,
    items.total as amount
from {{ ref('stg_shop__orders__items') }} as items
inner join {{ ref('fct_order') }} as orders on orders.order_id = items.order_id
left join {{ ref('stg_shop__products') }} as products on products.product_id = items.product_id
