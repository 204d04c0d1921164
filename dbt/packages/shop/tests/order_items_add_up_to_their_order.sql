-- The revenue of an order's items adds up to its revenue of goods to the cent.
select orders.order_id, orders.goods_revenue, sum(items.revenue) as revenue_of_items
from {{ ref('fct_order') }} as orders
inner join {{ ref('fct_order_item') }} as items on items.order_id = orders.order_id
group by 1, 2
having sum(items.revenue) <> orders.goods_revenue
