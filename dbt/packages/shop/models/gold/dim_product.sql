select
    product_id,
    sku,
    product_name,
    category,
    subcategory,
    price,
    cost,
    currency,
    is_active,
    created_at
from {{ ref('stg_shop__products') }}

union all

select
    'unknown',
    null, 'Unknown', null, null, null, null, null, null, null
