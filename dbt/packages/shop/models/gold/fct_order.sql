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
    revenues.order_id,
    revenues.order_number,
    revenues.buyer_id as customer_id,
    revenues.is_guest,
    revenues.session_id,
    revenues.ordered_on,
    revenues.placed_at,
    revenues.status,
    revenues.is_test,
    revenues.is_cancelled,
    revenues.is_counted,
    revenues.currency,
    revenues.exchange_rate,
    revenues.coupon,
    coalesce(revenues.shipping_country, '') || '|' || coalesce(revenues.shipping_postal_code, '')
        || '|' || coalesce(revenues.shipping_city, '') as geography_id,
    revenues.subtotal,
    revenues.discount,
    revenues.shipping,
    revenues.tax,
    revenues.total,
    revenues.refunded,
    revenues.gross_sales,
    revenues.discounts,
    revenues.goods_revenue,
    revenues.shipping_revenue,
    revenues.goods_revenue + revenues.shipping_revenue as revenue,
    coalesce(round(
        (revenues.goods_revenue + revenues.shipping_revenue) * revenues.refunded / nullif(revenues.total, 0), 2
    ), 0) as refunded_revenue,
    revenues.goods_revenue + revenues.shipping_revenue - coalesce(round(
        (revenues.goods_revenue + revenues.shipping_revenue) * revenues.refunded / nullif(revenues.total, 0), 2
    ), 0) as net_revenue,
    coalesce(items.item_count, 0) as item_count,
    coalesce(items.units, 0) as units,
    numbers.customer_order_number,
    revenues.email_hash as _email_hash,
    revenues.loaded_at as _loaded_at,
    now() as _built_at
from revenues
left join items on items.order_id = revenues.order_id
left join numbers on numbers.order_id = revenues.order_id
