{%- set bronze = warehouse.bronze_table('shop', 'orders__payments') -%}
select
    bronze_rows._id as payment_id,
    bronze_rows._root_id as order_id,
    bronze_rows._position::integer as position,
    {{ warehouse.bronze_value(bronze, 'method', 'text') }} as method,
    {{ warehouse.bronze_value(bronze, 'status', 'text') }} as status,
    {{ warehouse.bronze_value(bronze, 'amount', 'numeric') }} as amount,
    {{ warehouse.bronze_value(bronze, 'paid_at', 'timestamptz') }} as paid_at,
    {{ warehouse.bronze_unreadable(bronze) }} as unreadable
    {{- warehouse.passthrough(bronze) }}
from {{ bronze.rows }}
