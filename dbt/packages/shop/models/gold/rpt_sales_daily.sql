with measures as (

    select
        ordered_on as date_day,
        count(*) filter (where is_counted) as orders,
        count(*) filter (where is_cancelled and not is_test) as cancelled_orders,
        count(*) filter (where customer_order_number = 1) as new_customers,
        count(*) filter (where customer_order_number > 1) as returning_orders,
        coalesce(sum(net_revenue) filter (where customer_order_number = 1), 0) as new_net_revenue,
        coalesce(sum(net_revenue) filter (where customer_order_number > 1), 0) as returning_net_revenue,
        coalesce(sum(units) filter (where is_counted), 0) as units,
        sum(gross_sales) as gross_sales, sum(discounts) as discounts,
        sum(goods_revenue) as goods_revenue, sum(shipping_revenue) as shipping_revenue, sum(revenue) as revenue,
        0::numeric as refunds, sum(net_revenue) as net_revenue_restated, 0::numeric as cost
    from {{ ref('fct_order') }}
    group by 1

    union all

    select refunded_on, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, sum(refunded_revenue), 0, 0
    from {{ ref('fct_refund') }}
    group by 1

    union all

    select ordered_on, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, sum(cost)
    from {{ ref('fct_order_item') }}
    group by 1

),

daily as (

    select
        date_day,
        sum(orders)::bigint as orders,
        sum(cancelled_orders)::bigint as cancelled_orders,
        sum(new_customers)::bigint as new_customers,
        sum(returning_orders)::bigint as returning_orders,
        sum(new_net_revenue) as new_net_revenue,
        sum(returning_net_revenue) as returning_net_revenue,
        sum(units)::bigint as units,
        sum(gross_sales) as gross_sales,
        sum(discounts) as discounts,
        sum(goods_revenue) as goods_revenue,
        sum(shipping_revenue) as shipping_revenue,
        sum(revenue) as revenue,
        sum(refunds) as refunds,
        sum(revenue) - sum(refunds) as net_revenue,
        sum(net_revenue_restated) as net_revenue_restated,
        sum(cost) as cost
    from measures
    group by 1

)

select
    *,
    net_revenue_restated - cost as margin,
    {{ warehouse_shop.metric('average_order_value', 'daily') }} as average_order_value,
    {{ warehouse_shop.metric('returning_share', 'daily') }} as returning_share
from daily
