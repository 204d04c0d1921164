{%- set bronze = warehouse.bronze_table('cdnow', 'customers__purchases') -%}
select
    bronze_rows._id as purchase_id,
    bronze_rows._root_id as customer_id,
    bronze_rows._position::integer as position,
    ({{ warehouse.without_zone(warehouse.bronze_value(bronze, 'date', 'timestamptz')) }})::date as purchased_on,
    {{ warehouse.bronze_value(bronze, 'units', 'bigint') }} as units,
    {{ warehouse.bronze_value(bronze, 'amount', 'numeric') }} as amount
from {{ bronze.rows }}
where bronze_rows._root_id in (select customer_id from {{ ref('stg_cdnow__customers') }})
