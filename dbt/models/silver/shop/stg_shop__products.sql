{%- set bronze = bronze_table('shop', 'products') -%}
select
    bronze_rows._id as product_id,
    {{ bronze_value(bronze, 'sku', 'text') }} as sku,
    {{ bronze_value(bronze, 'name', 'text') }} as product_name,
    {{ bronze_value(bronze, 'category.main', 'text') }} as category,
    {{ bronze_value(bronze, 'category.sub', 'text') }} as subcategory,
    {{ bronze_value(bronze, 'price', 'numeric') }} as price,
    {{ bronze_value(bronze, 'cost', 'numeric') }} as cost,
    {{ bronze_value(bronze, 'currency', 'text') }} as currency,
    {{ bronze_value(bronze, 'active', 'boolean') }} as is_active,
    {{ bronze_value(bronze, 'created_at', 'timestamptz') }} as created_at,
    {{ bronze_value(bronze, 'updated_at', 'timestamptz') }} as updated_at
from {{ bronze.rows }}
