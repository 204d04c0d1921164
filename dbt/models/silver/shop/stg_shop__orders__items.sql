{%- set bronze = bronze_table('shop', 'orders__items') -%}
select
    bronze_rows._id as order_item_id,
    bronze_rows._root_id as order_id,
    bronze_rows._position::integer as position,
    {{ bronze_value(bronze, 'product_id', 'text') }} as product_id,
    {{ bronze_value(bronze, 'sku', 'text') }} as sku,
    {{ bronze_value(bronze, 'product.name', 'text') }} as product_name,
    {{ bronze_value(bronze, 'product.category', 'text') }} as category,
    {{ bronze_value(bronze, 'quantity', 'bigint') }} as quantity,
    {{ bronze_value(bronze, 'unit_price', 'numeric') }} as unit_price,
    {{ bronze_value(bronze, 'discount', 'numeric') }} as discount,
    {{ bronze_value(bronze, 'total', 'numeric') }} as total
from {{ bronze.rows }}
{#- Items of an order that the source has deleted go with it. #}
where bronze_rows._root_id in (select order_id from {{ ref('stg_shop__orders') }})
