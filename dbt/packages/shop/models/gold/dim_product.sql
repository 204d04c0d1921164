{#- The first known version holds from the beginning and the last one to the end, so that every sale finds one. #}
with snapshots as (

    {#- A version that went and came back unchanged is one. #}
    select distinct on (product_id, dbt_valid_from) *
    from {{ ref('snp_shop__products') }}
    order by product_id, dbt_valid_from, dbt_valid_to desc nulls first

),

versions as (

    select
        *,
        dbt_valid_from at time zone 'UTC' as began_at,
        row_number() over (partition by product_id order by dbt_valid_from) as version,
        lead(dbt_valid_from) over (partition by product_id order by dbt_valid_from) at time zone 'UTC' as next_began_at
    from snapshots

),

{#- Sold, but not in the catalogue (any more, or yet). #}
inferred as (

    select distinct items.product_id
    from {{ ref('stg_shop__orders__items') }} as items
    where items.product_id is not null
        and not exists (select from versions where versions.product_id = items.product_id)

)

select
    product_id || ':' || version as product_version_id,
    product_id,
    case when version = 1 then timestamptz '-infinity' else began_at end as valid_from,
    coalesce(next_began_at, timestamptz 'infinity') as valid_to,
    next_began_at is null as is_current,
    next_began_at is null and dbt_valid_to is not null as is_deleted,
    false as is_inferred,
    sku,
    product_name,
    category,
    subcategory,
    price,
    cost,
    price - cost as unit_margin,
    currency,
    is_active,
    created_at
from versions

union all

select
    product_id || ':1', product_id, '-infinity', 'infinity', true, false, true,
    null, 'Unknown product', null, null, null, null, null, null, null, null
from (select product_id from inferred union all select 'unknown') as missing
