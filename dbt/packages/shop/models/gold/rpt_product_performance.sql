with sums as (

    select
        date_trunc('month', ordered_on)::date as month_start,
        product_id,
        count(distinct order_id)::bigint as orders,
        count(distinct nullif(customer_id, 'unknown'))::bigint as buyers,
        sum(quantity)::bigint as units,
        sum(revenue) as revenue,
        sum(refunded_revenue) as refunded_revenue,
        sum(revenue) - sum(refunded_revenue) as net_revenue,
        sum(cost) as cost
    from {{ ref('fct_order_item') }}
    where is_counted
    group by 1, 2

)

select
    sums.month_start,
    sums.product_id,
    products.product_name,
    products.category,
    sums.orders,
    sums.buyers,
    sums.units,
    sums.revenue,
    sums.refunded_revenue,
    sums.net_revenue,
    sums.cost,
    sums.net_revenue - sums.cost as margin,
    {{ warehouse.ratio('sums.net_revenue - sums.cost', 'sums.net_revenue') }} as margin_rate,
    {{ warehouse.ratio('sums.refunded_revenue', 'sums.revenue') }} as refund_rate
from sums
inner join {{ ref('dim_product') }} as products on products.product_id = sums.product_id and products.is_current
