{%- set bronze = warehouse.bronze_table('shop', 'orders') -%}
select
    bronze_rows._id as order_id,
    {{ warehouse.bronze_value(bronze, 'order_number', 'text') }} as order_number,
    {{ warehouse.not_blank(warehouse.bronze_value(bronze, 'customer_id', 'text')) }} as customer_id,
    {#- Who orders as a guest leaves an address only. #}
    {{ warehouse.email_hash(warehouse.bronze_value(bronze, ['email', 'guest.email'], 'text')) }} as email_hash,
    {{ warehouse.bronze_value(bronze, 'session_id', 'text') }} as session_id,
    lower({{ warehouse.bronze_value(bronze, 'status', 'text') }}) as status,
    coalesce({{ warehouse.bronze_value(bronze, ['test', 'is_test'], 'boolean') }}, false) as is_test,
    upper(coalesce(
        nullif(trim({{ warehouse.bronze_value(bronze, 'currency', 'text') }}), ''),
        '{{ warehouse.setting('default_currency') }}'
    )) as currency,
    {{ warehouse.bronze_value(bronze, 'coupon', 'text') }} as coupon,
    {{ warehouse.bronze_value(bronze, 'subtotal', 'numeric') }} as subtotal,
    coalesce({{ warehouse.bronze_value(bronze, 'discount', 'numeric') }}, 0) as discount,
    coalesce({{ warehouse.bronze_value(bronze, 'shipping', 'numeric') }}, 0) as shipping,
    coalesce({{ warehouse.bronze_value(bronze, 'tax', 'numeric') }}, 0) as tax,
    {{ warehouse.bronze_value(bronze, 'total', 'numeric') }} as total,
    {{ warehouse.bronze_array(bronze, 'refunds') }} as refunds,
    {{ warehouse.bronze_value(bronze, 'shipping_address.city', 'text') }} as shipping_city,
    {{ warehouse_shop.postal_code(
        warehouse.bronze_value(bronze, 'shipping_address.zip', 'text'),
        warehouse.bronze_value(bronze, 'shipping_address.country', 'text')
    ) }} as shipping_postal_code,
    upper({{ warehouse.bronze_value(bronze, 'shipping_address.country', 'text') }}) as shipping_country,
    {{ warehouse.bronze_value(bronze, 'placed_at', 'timestamptz') }} as placed_at,
    {{ warehouse.reporting_date(warehouse.bronze_value(bronze, 'placed_at', 'timestamptz')) }} as ordered_on,
    {{ warehouse.bronze_value(bronze, 'updated_at', 'timestamptz') }} as updated_at,
    {{ warehouse.bronze_unreadable(bronze) }} as unreadable,
    {{ warehouse.bronze_value(bronze, '_loaded_at', 'timestamptz') }} as loaded_at
    {{- warehouse.passthrough(bronze) }}
from {{ bronze.rows }}
