{%- set bronze = bronze_table('shop', 'orders') -%}
select
    bronze_rows._id as order_id,
    {{ bronze_value(bronze, 'order_number', 'text') }} as order_number,
    {{ bronze_value(bronze, 'customer_id', 'text') }} as customer_id,
    {{ bronze_value(bronze, 'session_id', 'text') }} as session_id,
    {{ bronze_value(bronze, 'status', 'text') }} as status,
    {{ bronze_value(bronze, 'currency', 'text') }} as currency,
    {{ bronze_value(bronze, 'coupon', 'text') }} as coupon,
    {{ bronze_value(bronze, 'subtotal', 'numeric') }} as subtotal,
    {{ bronze_value(bronze, 'discount', 'numeric') }} as discount,
    {{ bronze_value(bronze, 'shipping', 'numeric') }} as shipping,
    {{ bronze_value(bronze, 'tax', 'numeric') }} as tax,
    {{ bronze_value(bronze, 'total', 'numeric') }} as total,
    {{ bronze_value(bronze, 'refunds', 'jsonb') }} as refunds,
    {{ bronze_value(bronze, 'shipping_address.country', 'text') }} as shipping_country,
    {{ bronze_value(bronze, 'placed_at', 'timestamptz') }} as placed_at,
    {{ bronze_value(bronze, 'updated_at', 'timestamptz') }} as updated_at
from {{ bronze.rows }}
