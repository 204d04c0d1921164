{{ config(
    materialized='incremental_by_key',
    unique_key='order_id',
    indexes=[{'columns': ['order_id']}, {'columns': ['product_id']}],
    pre_hook="{{ warehouse.find_changed(warehouse_shop.changed_items()) }}",
) }}
with items as (

    select
        *,
        coalesce(total, quantity * unit_price - discount) as amount
    from {{ ref('stg_shop__orders__items') }}
    where {{ warehouse.is_changed('order_id') }}

),

weighed as (

    select
        *,
        sum(amount) over (partition by order_id order by position) as running,
        sum(amount) over (partition by order_id) as order_amount
    from items
    where quantity is not null and unit_price is not null and amount is not null and unreadable is null

)

select
    weighed.order_item_id,
    weighed.order_id,
    weighed.position,
    orders.customer_id,
    coalesce(weighed.product_id, 'unknown') as product_id,
    orders.ordered_on,
    orders.placed_at,
    orders.is_counted,
    weighed.sku,
    weighed.product_name,
    weighed.quantity,
    orders.currency,
    weighed.unit_price,
    weighed.quantity * weighed.unit_price as gross_amount,
    weighed.discount,
    weighed.amount,
    coalesce({{ warehouse.share('orders.goods_revenue', 'weighed.running', 'weighed.amount', 'weighed.order_amount') }}, 0)
        as revenue,
    coalesce({{ warehouse.share(
        'round(orders.refunded_revenue * orders.goods_revenue / nullif(orders.revenue, 0), 2)',
        'weighed.running', 'weighed.amount', 'weighed.order_amount'
    ) }}, 0) as refunded_revenue,
    {{ warehouse.to_reporting('products.cost', 'rates.rate', 4) }} as unit_cost,
    {#- What was sent back costs nothing: its share of the cost goes as its share of the money. #}
    case when orders.is_counted
        then coalesce(round(
            weighed.quantity * products.cost * rates.rate * (1 - coalesce(orders.refunded / nullif(orders.total, 0), 0)), 2
        ), 0)
        else 0
    end as cost,
    orders._built_at as _order_built_at
from weighed
inner join {{ ref('fct_order') }} as orders on orders.order_id = weighed.order_id
left join {{ ref('dim_product') }} as products
    on products.product_id = coalesce(weighed.product_id, 'unknown')
    and orders.placed_at >= products.valid_from and orders.placed_at < products.valid_to
left join {{ ref('fct_exchange_rate') }} as rates
    on rates.currency = products.currency and rates.date_day = orders.ordered_on
