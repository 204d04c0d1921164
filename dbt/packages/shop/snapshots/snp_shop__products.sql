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
    coalesce(updated_at, created_at, timestamptz '1970-01-01 00:00Z') at time zone 'UTC' as changed_at
from {{ ref('stg_shop__products') }}
{% endsnapshot %}
