{#- Who an address belongs to; where several accounts share one, the oldest. An empty address belongs to nobody. #}
select distinct on (email_hash)
    email_hash,
    customer_id
from {{ ref('stg_shop__customers') }}
where email_hash is not null
order by email_hash, created_at, customer_id
