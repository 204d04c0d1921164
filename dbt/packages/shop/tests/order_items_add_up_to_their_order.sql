-- The items of an order add up to what the order says of them: subtotal less discount, and its revenue of goods to the cent.
select orders.order_id, orders.subtotal - orders.discount as by_order, sum(items.amount) as by_items,
    orders.goods_revenue, sum(items.revenue) as revenue_of_items
from {{ ref('fct_order') }} as orders
inner join {{ ref('fct_order_item') }} as items on items.order_id = orders.order_id
group by orders.order_id, orders.subtotal, orders.discount, orders.goods_revenue
having sum(items.amount) <> orders.subtotal - orders.discount or sum(items.revenue) <> orders.goods_revenue
