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

{#- What came back of each item, over all refunds of its order. #}
returns as (

    select order_id, position, sum(quantity)::bigint as quantity, sum(amount) as amount
    from {{ ref('int_shop__refund_items') }}
    where {{ warehouse.is_changed('order_id') }}
    group by 1, 2

),

joined as (

    select
        items.*,
        orders.customer_id, orders.ordered_on, orders.placed_at, orders.is_counted, orders.currency, orders.goods_revenue,
        orders.refunded_goods_revenue, orders._built_at,
        coalesce(orders.refunded / nullif(orders.total, 0), 0) as refunded_share,
        coalesce(returns.quantity, 0) as returned_quantity,
        coalesce(returns.amount, 0) as returned_amount,
        sum(items.amount) over (partition by items.order_id order by items.position) as running,
        sum(items.amount) over (partition by items.order_id) as order_amount,
        sum(returns.amount) over (partition by items.order_id) as order_returned_amount
    from items
    inner join {{ ref('fct_order') }} as orders on orders.order_id = items.order_id
    left join returns on returns.order_id = items.order_id and returns.position = items.position
    {#- As a case, as Postgres takes `is null` of an expression to be rare, and would look each item up by itself. #}
    where items.quantity is not null and items.unit_price is not null and items.amount is not null
        and case when items.unreadable is null then true else false end

),

{#- Money goes back to the items that came back, as far as the refunds say which those are; else to all by their amounts. #}
weighed as (

    select
        *,
        coalesce(order_returned_amount, 0) > 0 as tells_items,
        case when order_returned_amount > 0 then returned_amount else amount end as refund_weight
    from joined

),

shared as (

    select
        *,
        sum(refund_weight) over (partition by order_id order by position) as refund_running,
        sum(refund_weight) over (partition by order_id) as refund_whole
    from weighed

)

select
    shared.order_item_id,
    shared.order_id,
    shared.position,
    shared.customer_id,
    coalesce(shared.product_id, 'unknown') as product_id,
    shared.ordered_on,
    shared.placed_at,
    shared.is_counted,
    shared.sku,
    shared.product_name,
    shared.quantity,
    shared.currency,
    shared.unit_price,
    shared.quantity * shared.unit_price as gross_amount,
    shared.discount,
    shared.amount,
    shared.returned_quantity,
    shared.returned_amount,
    coalesce({{ warehouse.share('shared.goods_revenue', 'shared.running', 'shared.amount', 'shared.order_amount') }}, 0) as revenue,
    coalesce({{ warehouse.share(
        'shared.refunded_goods_revenue', 'shared.refund_running', 'shared.refund_weight', 'shared.refund_whole'
    ) }}, 0) as refunded_revenue,
    {{ warehouse.to_reporting('products.cost', 'rates.rate', 4) }} as unit_cost,
    {#- What came back costs nothing; where nobody says what did, its share of the cost goes as its share of the money. #}
    case when shared.is_counted
        then coalesce(round(
            case when shared.tells_items then greatest(shared.quantity - shared.returned_quantity, 0)
                else shared.quantity * greatest(1 - shared.refunded_share, 0)
            end * products.cost * rates.rate, 2
        ), 0)
        else 0
    end as cost,
    shared._built_at as _order_built_at
from shared
left join {{ ref('dim_product') }} as products
    on products.product_id = coalesce(shared.product_id, 'unknown')
    and shared.placed_at >= products.valid_from and shared.placed_at < products.valid_to
left join {{ ref('fct_exchange_rate') }} as rates
    on rates.currency = products.currency and rates.date_day = shared.ordered_on
