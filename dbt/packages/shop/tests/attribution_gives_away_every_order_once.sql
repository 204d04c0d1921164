-- Per order and model the weights add up to 1, and the parts to the order's revenue to the cent.
select orders.order_id, parts.attribution_model, sum(parts.weight) as weight, sum(parts.revenue) as revenue, orders.revenue as of_order
from {{ ref('fct_order') }} as orders
left join {{ ref('fct_attribution') }} as parts on parts.order_id = orders.order_id
where orders.is_counted
group by orders.order_id, parts.attribution_model, orders.revenue, orders.net_revenue
having coalesce(sum(parts.weight), 0) <> 1 or sum(parts.revenue) <> orders.revenue or sum(parts.net_revenue) <> orders.net_revenue
