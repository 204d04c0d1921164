{%- set bronze = warehouse.bronze_table('shop', 'orders') -%}
select
    bronze_rows._id as order_id,
    {{ warehouse.bronze_value(bronze, 'order_number', 'text') }} as order_number,
    {{ warehouse.bronze_value(bronze, 'customer_id', 'text') }} as customer_id,
    {{ warehouse.bronze_value(bronze, 'session_id', 'text') }} as session_id,
    {{ warehouse.bronze_value(bronze, 'status', 'text') }} as status,
    {{ warehouse.bronze_value(bronze, 'currency', 'text') }} as currency,
    {{ warehouse.bronze_value(bronze, 'coupon', 'text') }} as coupon,
    {{ warehouse.bronze_value(bronze, 'subtotal', 'numeric') }} as subtotal,
    {{ warehouse.bronze_value(bronze, 'discount', 'numeric') }} as discount,
    {{ warehouse.bronze_value(bronze, 'shipping', 'numeric') }} as shipping,
    {{ warehouse.bronze_value(bronze, 'tax', 'numeric') }} as tax,
    {{ warehouse.bronze_value(bronze, 'total', 'numeric') }} as total,
    {{ warehouse.bronze_value(bronze, 'refunds', 'jsonb') }} as refunds,
    {{ warehouse.bronze_value(bronze, 'shipping_address.country', 'text') }} as shipping_country,
    {{ warehouse.bronze_value(bronze, 'placed_at', 'timestamptz') }} as placed_at,
    {{ warehouse.bronze_value(bronze, 'updated_at', 'timestamptz') }} as updated_at
from {{ bronze.rows }}
