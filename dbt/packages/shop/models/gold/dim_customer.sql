{#- Type 2, as dim_product; guests and buyers whom the shop does not know (any more) have one version each. #}
with snapshots as (

    {#- A version that went and came back unchanged is one. #}
    select
        *,
        row_number() over (partition by customer_id, dbt_valid_from order by dbt_valid_to desc nulls first) as place
    from {{ ref('snp_shop__customers') }}

),

versions as (

    select
        *,
        {{ warehouse.in_utc('dbt_valid_from') }} as began_at,
        row_number() over (partition by customer_id order by dbt_valid_from) as version,
        {{ warehouse.in_utc('lead(dbt_valid_from) over (partition by customer_id order by dbt_valid_from)') }} as next_began_at
    from snapshots
    where place = 1

),

{#- Accounts with one address are one person: the oldest account stands for it. #}
people as (

    select
        versions.*,
        coalesce(emails.customer_id, versions.customer_id) as person_id
    from versions
    left join {{ ref('int_shop__customer_emails') }} as emails on emails.email_hash = versions.email_hash

),

others as (

    select distinct buyer_id
    from {{ ref('int_shop__orders') }} as orders
    where not exists (select from versions where versions.customer_id = orders.buyer_id)
    union
    select 'unknown'

)

select
    customer_id || ':' || version as customer_version_id,
    customer_id,
    person_id,
    case when version = 1 then {{ warehouse.always('before') }} else began_at end as valid_from,
    coalesce(next_began_at, {{ warehouse.always('after') }}) as valid_to,
    next_began_at is null as is_current,
    case when next_began_at is null and dbt_valid_to is not null then 'deleted' else 'registered' end as kind,
    customer_number,
    email,
    first_name,
    last_name,
    phone,
    birth_date,
    postal_code,
    city,
    country,
    coalesce(country, '') || '|' || coalesce(postal_code, '') || '|' || coalesce(city, '') as geography_id,
    loyalty_tier,
    consents_to_email,
    consents_to_ads,
    created_at
from people

union all

select
    buyer_id || ':1', buyer_id, buyer_id, {{ warehouse.always('before') }}, {{ warehouse.always('after') }}, true,
    case when buyer_id like 'guest:%' then 'guest' when buyer_id = 'unknown' then 'unknown' else 'inferred' end,
    null, null, null, null, null, null, null, null, null, '||', null, null, null, null
from others
