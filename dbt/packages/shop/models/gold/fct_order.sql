{{ config(
    materialized='incremental_by_key',
    unique_key='order_id',
    indexes=[{'columns': ['order_id'], 'unique': true}, {'columns': ['customer_id']}, {'columns': ['ordered_on']},
             {'columns': ['session_id']}],
    pre_hook="{{ warehouse.find_changed(warehouse_shop.changed_orders(), warehouse_shop.renumbered_orders()) }}",
) }}
-- depends_on: {{ ref('stg_shop__orders') }}
-- depends_on: {{ ref('int_shop__customer_emails') }}
-- depends_on: {{ ref('fct_exchange_rate') }}
with orders as (

    select * from {{ ref('int_shop__orders') }} where {{ warehouse.is_changed('order_id') }}

),

{#- The one definition of revenue: what was paid, net of VAT; 0 for orders that do not count. #}
amounts as (

    select
        *,
        case when is_counted then {{ warehouse.to_reporting('subtotal', 'exchange_rate') }} else 0 end as gross_sales,
        case when is_counted then {{ warehouse.to_reporting('discount', 'exchange_rate') }} else 0 end as discounts,
        case when is_counted then {{ warehouse.to_reporting('total - tax', 'exchange_rate') }} else 0 end as paid_net,
        {#- VAT is spread over goods and shipping alike. #}
        case when is_counted
            then {{ warehouse.to_reporting('coalesce((total - tax) * (total - shipping) / nullif(total, 0), 0)', 'exchange_rate') }}
            else 0
        end as goods_revenue
    from orders

),

revenues as (

    select
        *,
        {% if warehouse.setting('revenue_includes_shipping') -%} paid_net - goods_revenue {%- else -%} 0 {%- endif %} as shipping_revenue
    from amounts

),

returns as (

    select order_id, sum(amount) as amount
    from {{ ref('int_shop__refund_items') }}
    where {{ warehouse.is_changed('order_id') }}
    group by 1

),

{#- What items came back is of goods; what is paid back besides is of shipping first. Where no item is named, of both alike. #}
refunds as (

    select
        revenues.*,
        revenues.goods_revenue + revenues.shipping_revenue as revenue,
        coalesce(round(
            revenues.goods_revenue
            * case
                when returns.amount > 0 then least(returns.amount, revenues.refunded)
                    + greatest(revenues.refunded - returns.amount - revenues.shipping, 0)
                else revenues.refunded * (revenues.total - revenues.shipping) / nullif(revenues.total, 0)
            end
            / nullif(revenues.total - revenues.shipping, 0), 2
        ), 0) as refunded_goods,
        {#- What is paid back of an order that cost nothing has no VAT to leave out. #}
        coalesce(
            round((revenues.goods_revenue + revenues.shipping_revenue) * revenues.refunded / nullif(revenues.total, 0), 2),
            case when revenues.is_counted then {{ warehouse.to_reporting('revenues.refunded', 'revenues.exchange_rate') }} else 0 end
        ) as refunded_in_all
    from revenues
    left join returns on returns.order_id = revenues.order_id

),

net as (

    select
        *,
        {% if warehouse.setting('revenue_includes_shipping') -%}
        least(refunded_goods, refunded_in_all) as refunded_goods_revenue,
        refunded_in_all as refunded_revenue
        {%- else -%}
        refunded_goods as refunded_goods_revenue,
        refunded_goods as refunded_revenue
        {%- endif %}
    from refunds

),

items as (

    select order_id, count(*)::integer as item_count, coalesce(sum(quantity), 0)::bigint as units
    from {{ ref('stg_shop__orders__items') }}
    where {{ warehouse.is_changed('order_id') }}
    group by 1

),

{#- Orders of the same buyers that are not made anew keep their number, and count for the numbers of those that are. #}
numbers as (

    select order_id, row_number() over (partition by customer_id order by placed_at, order_id)::integer as customer_order_number
    from (
        select order_id, buyer_id as customer_id, placed_at from orders where is_counted and buyer_id <> 'unknown'
        {% if warehouse.goes_on() -%}
        union all
        select made.order_id, made.customer_id, made.placed_at
        from {{ this }} as made
        where made.is_counted and made.customer_id in (select buyer_id from orders where buyer_id <> 'unknown')
            and not exists (select from {{ warehouse.beside('changed') }} as changed where changed.order_id = made.order_id)
        {%- endif %}
    ) as counted

)

select
    net.order_id,
    net.order_number,
    net.buyer_id as customer_id,
    net.is_guest,
    net.session_id,
    net.ordered_on,
    net.placed_at,
    net.status,
    net.is_test,
    net.is_cancelled,
    net.is_counted,
    net.currency,
    net.exchange_rate,
    net.coupon,
    coalesce(net.shipping_country, '') || '|' || coalesce(net.shipping_postal_code, '')
        || '|' || coalesce(net.shipping_city, '') as geography_id,
    net.subtotal,
    net.discount,
    net.shipping,
    net.tax,
    net.total,
    net.refunded,
    net.gross_sales,
    net.discounts,
    net.goods_revenue,
    net.shipping_revenue,
    net.revenue,
    net.refunded_goods_revenue,
    net.refunded_revenue,
    net.revenue - net.refunded_revenue as net_revenue,
    coalesce(items.item_count, 0) as item_count,
    coalesce(items.units, 0) as units,
    numbers.customer_order_number,
    net.email_hash as _email_hash,
    net.loaded_at as _loaded_at,
    now() as _built_at
from net
left join items on items.order_id = net.order_id
left join numbers on numbers.order_id = net.order_id
