{% snapshot snp_shop__customers %}
{{ config(
    schema='silver',
    unique_key='customer_id',
    strategy='timestamp',
    updated_at='changed_at',
    hard_deletes='invalidate',
) }}
select
    customer_id,
    customer_number,
    email,
    email_hash,
    first_name,
    last_name,
    phone,
    birth_date,
    postal_code,
    city,
    country,
    loyalty_tier,
    consents_to_email,
    consents_to_ads,
    created_at,
    {#- dbt keeps the times of versions without a zone. #}
    {{ warehouse.without_zone("coalesce(updated_at, created_at, cast('1970-01-01 00:00Z' as timestamp with time zone))") }} as changed_at
from {{ ref('stg_shop__customers') }}
{% endsnapshot %}
