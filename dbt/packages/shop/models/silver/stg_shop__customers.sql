{%- set bronze = warehouse.bronze_table('shop', 'customers') -%}
select
    bronze_rows._id as customer_id,
    {{ warehouse.bronze_value(bronze, 'customer_number', 'bigint') }} as customer_number,
    {{ warehouse.bronze_value(bronze, 'email', 'text') }} as email,
    {{ warehouse.email_hash(warehouse.bronze_value(bronze, 'email', 'text')) }} as email_hash,
    {{ warehouse.bronze_value(bronze, 'name.first', 'text') }} as first_name,
    {{ warehouse.bronze_value(bronze, 'name.last', 'text') }} as last_name,
    {#- The shop renamed phone to phone_number: documents carry one or the other. #}
    {{ warehouse.bronze_value(bronze, ['phone_number', 'phone'], 'text') }} as phone,
    {{ warehouse.bronze_value(bronze, 'birth_date', 'date') }} as birth_date,
    {{ warehouse.bronze_value(bronze, 'address.street', 'text') }} as street,
    {{ warehouse_shop.postal_code(
        warehouse.bronze_value(bronze, 'address.zip', 'text'), warehouse.bronze_value(bronze, 'address.country', 'text')
    ) }} as postal_code,
    {{ warehouse.bronze_value(bronze, 'address.city', 'text') }} as city,
    upper({{ warehouse.bronze_value(bronze, 'address.country', 'text') }}) as country,
    {{ warehouse.bronze_value(bronze, 'loyalty_tier', 'text') }} as loyalty_tier,
    {{ warehouse.bronze_value(bronze, 'consent.email', 'boolean') }} as consents_to_email,
    {{ warehouse.bronze_value(bronze, 'consent.ads', 'boolean') }} as consents_to_ads,
    {{ warehouse.bronze_value(bronze, 'created_at', 'timestamptz') }} as created_at,
    {{ warehouse.bronze_value(bronze, 'updated_at', 'timestamptz') }} as updated_at
    {{- warehouse.passthrough(bronze) }}
from {{ bronze.rows }}
