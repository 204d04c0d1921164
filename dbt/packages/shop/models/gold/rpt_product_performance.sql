with sums as (

    select
        date_trunc('month', ordered_on)::date as month_start,
        product_id,
        count(distinct order_id)::bigint as orders,
        count(distinct nullif(customer_id, 'unknown'))::bigint as buyers,
        sum(quantity)::bigint as units,
        sum(returned_quantity)::bigint as returned_units,
        sum(revenue) as revenue,
        sum(refunded_revenue) as refunded_revenue,
        sum(revenue) - sum(refunded_revenue) as net_revenue,
        sum(cost) as cost,
        sum(revenue) - sum(refunded_revenue) - sum(cost) as margin
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
    sums.returned_units,
    sums.revenue,
    sums.refunded_revenue,
    sums.net_revenue,
    sums.cost,
    sums.margin,
    {{ warehouse_shop.metric('margin_rate', 'sums') }} as margin_rate,
    {{ warehouse_shop.metric('refund_rate', 'sums') }} as refund_rate,
    {{ warehouse_shop.metric('return_rate', 'sums') }} as return_rate
from sums
inner join {{ ref('dim_product') }} as products on products.product_id = sums.product_id and products.is_current
