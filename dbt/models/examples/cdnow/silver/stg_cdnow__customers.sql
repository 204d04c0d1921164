{%- set bronze = warehouse.bronze_table('cdnow', 'customers') -%}
select
    bronze_rows._id as customer_id,
    ({{ warehouse.bronze_value(bronze, 'first_purchase_at', 'timestamptz') }} at time zone 'UTC')::date as first_purchase_on
from {{ bronze.rows }}
