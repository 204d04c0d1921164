{%- set bronze = bronze_table('shop', 'events') -%}
select
    bronze_rows._id as event_id,
    {{ bronze_value(bronze, 'session_id', 'text') }} as session_id,
    {{ bronze_value(bronze, 'visitor_id', 'text') }} as visitor_id,
    {{ bronze_value(bronze, 'customer_id', 'text') }} as customer_id,
    {{ bronze_value(bronze, 'type', 'text') }} as event_type,
    {{ bronze_value(bronze, 'at', 'timestamptz') }} as happened_at,
    {{ bronze_value(bronze, 'url', 'text') }} as url,
    {{ bronze_value(bronze, 'referrer', 'text') }} as referrer,
    {{ bronze_value(bronze, 'utm.source', 'text') }} as utm_source,
    {{ bronze_value(bronze, 'utm.medium', 'text') }} as utm_medium,
    {{ bronze_value(bronze, 'utm.campaign', 'text') }} as utm_campaign,
    {{ bronze_value(bronze, 'device.type', 'text') }} as device_type,
    {{ bronze_value(bronze, 'product_id', 'text') }} as product_id,
    {{ bronze_value(bronze, 'order_id', 'text') }} as order_id
from {{ bronze.rows }}
