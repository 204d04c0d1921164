-- The items of an order add up to what the order says of them: subtotal less discount.
select orders.order_id, orders.subtotal - orders.discount as by_order, sum(items.amount) as by_items
from {{ ref('fct_order') }} as orders
inner join {{ ref('fct_order_item') }} as items on items.order_id = orders.order_id
group by 1, 2
having sum(items.amount) <> orders.subtotal - orders.discount
