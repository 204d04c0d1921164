{#- What each customer brought in each month, with the month of the first order. #}
with costs as (

    select order_id, sum(cost) as cost from {{ ref('fct_order_item') }} group by 1

),

months as (

    select
        orders.customer_id,
        date_trunc('month', orders.ordered_on)::date as month_start,
        count(*)::bigint as orders,
        sum(orders.net_revenue) as net_revenue,
        sum(orders.net_revenue) - sum(coalesce(costs.cost, 0)) as margin
    from {{ ref('fct_order') }} as orders
    left join costs on costs.order_id = orders.order_id
    where orders.is_counted and orders.customer_id <> 'unknown'
    group by 1, 2

)

select
    customer_id,
    month_start,
    min(month_start) over (partition by customer_id) as cohort_month,
    orders,
    net_revenue,
    margin
from months
