-- What the shop says of an order is what it says of its items, where none of these is set aside.
{{ config(severity='warn') }}
select orders.order_id, orders.subtotal - orders.discount as by_order, sum(items.amount) as by_items
from {{ ref('fct_order') }} as orders
inner join {{ ref('fct_order_item') }} as items on items.order_id = orders.order_id
group by orders.order_id, orders.subtotal, orders.discount, orders.item_count
having sum(items.amount) <> orders.subtotal - orders.discount and count(*) = orders.item_count
