{#- Who an address belongs to; where several accounts share one, the oldest. An empty address belongs to nobody. #}
select
    email_hash,
    customer_id
from (
    select
        email_hash,
        customer_id,
        row_number() over (partition by email_hash order by created_at, customer_id) as place
    from {{ ref('stg_shop__customers') }}
    where email_hash is not null
) as accounts
where place = 1
