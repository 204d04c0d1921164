-- Refunds by their own day add up to what their order counts as paid back, and every refund of an order is there.
select orders.order_id, orders.refunded, orders.refunded_revenue, sum(refunds.amount) as amount, sum(refunds.refunded_revenue) as revenue
from {{ ref('fct_order') }} as orders
left join {{ ref('fct_refund') }} as refunds on refunds.order_id = orders.order_id
where orders.refunded <> 0
group by 1, 2, 3
having sum(refunds.amount) is distinct from orders.refunded or sum(refunds.refunded_revenue) is distinct from orders.refunded_revenue
