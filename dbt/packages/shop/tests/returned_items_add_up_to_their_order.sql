-- What is paid back for the items of an order is what the order says was paid back for goods, to the cent.
select orders.order_id, orders.refunded_goods_revenue as by_order, sum(items.refunded_revenue) as by_items
from {{ ref('fct_order') }} as orders
inner join {{ ref('fct_order_item') }} as items on items.order_id = orders.order_id
group by 1, 2
having sum(items.refunded_revenue) <> orders.refunded_goods_revenue
