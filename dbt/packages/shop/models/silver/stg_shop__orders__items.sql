{%- set bronze = warehouse.bronze_table('shop', 'orders__items') -%}
select
    bronze_rows._id as order_item_id,
    bronze_rows._root_id as order_id,
    bronze_rows._position::integer as position,
    {{ warehouse.bronze_value(bronze, 'product_id', 'text') }} as product_id,
    {{ warehouse.bronze_value(bronze, 'sku', 'text') }} as sku,
    {{ warehouse.bronze_value(bronze, 'product.name', 'text') }} as product_name,
    {{ warehouse.bronze_value(bronze, 'product.category', 'text') }} as category,
    {{ warehouse.bronze_value(bronze, 'quantity', 'bigint') }} as quantity,
    {{ warehouse.bronze_value(bronze, 'unit_price', 'numeric') }} as unit_price,
    coalesce({{ warehouse.bronze_value(bronze, 'discount', 'numeric') }}, 0) as discount,
    {{ warehouse.bronze_value(bronze, 'total', 'numeric') }} as total,
    {{ warehouse.bronze_unreadable(bronze) }} as unreadable
    {{- warehouse.passthrough(bronze) }}
from {{ bronze.rows }}
