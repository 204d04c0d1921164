{%- set bronze = warehouse.bronze_table('shop', 'products') -%}
select
    bronze_rows._id as product_id,
    {{ warehouse.bronze_value(bronze, 'sku', 'text') }} as sku,
    {{ warehouse.bronze_value(bronze, 'name', 'text') }} as product_name,
    {{ warehouse.bronze_value(bronze, 'category.main', 'text') }} as category,
    {{ warehouse.bronze_value(bronze, 'category.sub', 'text') }} as subcategory,
    {{ warehouse.bronze_value(bronze, 'price', 'numeric') }} as price,
    {{ warehouse.bronze_value(bronze, 'cost', 'numeric') }} as cost,
    {{ warehouse.bronze_value(bronze, 'currency', 'text') }} as currency,
    {{ warehouse.bronze_value(bronze, 'active', 'boolean') }} as is_active,
    {{ warehouse.bronze_value(bronze, 'created_at', 'timestamptz') }} as created_at,
    {{ warehouse.bronze_value(bronze, 'updated_at', 'timestamptz') }} as updated_at,
    {{ warehouse.bronze_unreadable(bronze) }} as unreadable
    {{- warehouse.passthrough(bronze) }}
from {{ bronze.rows }}
