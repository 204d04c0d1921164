{%- set bronze = warehouse.bronze_table('shop', 'events') -%}
select
    bronze_rows._id as event_id,
    {{ warehouse.not_blank(warehouse.bronze_value(bronze, 'session_id', 'text')) }} as session_id,
    {{ warehouse.not_blank(warehouse.bronze_value(bronze, 'visitor_id', 'text')) }} as visitor_id,
    {{ warehouse.not_blank(warehouse.bronze_value(bronze, 'customer_id', 'text')) }} as customer_id,
    {{ warehouse.bronze_value(bronze, 'type', 'text') }} as event_type,
    {{ warehouse.bronze_value(bronze, 'at', 'timestamptz') }} as happened_at,
    {{ warehouse.bronze_value(bronze, 'url', 'text') }} as url,
    {{ warehouse.bronze_value(bronze, 'referrer', 'text') }} as referrer,
    nullif(lower(trim({{ warehouse.bronze_value(bronze, 'utm.source', 'text') }})), '') as utm_source,
    nullif(lower(trim({{ warehouse.bronze_value(bronze, 'utm.medium', 'text') }})), '') as utm_medium,
    nullif(trim({{ warehouse.bronze_value(bronze, 'utm.campaign', 'text') }}), '') as utm_campaign,
    nullif(trim({{ warehouse.bronze_value(bronze, 'utm.id', 'text') }}), '') as utm_id,
    {{ warehouse.bronze_value(bronze, 'device.type', 'text') }} as device_type,
    {{ warehouse.bronze_value(bronze, ['device.user_agent', 'user_agent'], 'text') }} as user_agent,
    {{ warehouse.bronze_value(bronze, 'product_id', 'text') }} as product_id,
    {{ warehouse.bronze_value(bronze, 'order_id', 'text') }} as order_id,
    {{ warehouse.bronze_value(bronze, '_loaded_at', 'timestamptz') }} as loaded_at
    {{- warehouse.passthrough(bronze) }}
from {{ bronze.rows }}
