{% snapshot snp_shop__products %}
{{ config(
    schema='silver',
    unique_key='product_id',
    strategy='timestamp',
    updated_at='changed_at',
    hard_deletes='invalidate',
) }}
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
    created_at,
    {#- dbt keeps the times of versions without a zone. #}
    {{ warehouse.without_zone("coalesce(updated_at, created_at, cast('1970-01-01 00:00Z' as timestamp with time zone))") }} as changed_at
from {{ ref('stg_shop__products') }}
{% endsnapshot %}
