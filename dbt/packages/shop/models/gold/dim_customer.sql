select
    customer_id,
    customer_number,
    email,
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
    created_at
from {{ ref('stg_shop__customers') }}

union all

{#- Orders outlive deleted customers: their facts point here. #}
select
    'unknown',
    null, null, null, 'Unknown', null, null, null, null, null, null, null, null, null
