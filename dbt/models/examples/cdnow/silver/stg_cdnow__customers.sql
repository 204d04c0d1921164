{%- set bronze = warehouse.bronze_table('cdnow', 'customers') -%}
select
    bronze_rows._id as customer_id,
    ({{ warehouse.without_zone(warehouse.bronze_value(bronze, 'first_purchase_at', 'timestamptz')) }})::date as first_purchase_on
from {{ bronze.rows }}
