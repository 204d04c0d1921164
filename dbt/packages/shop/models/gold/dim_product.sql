{#- The first known version holds from the beginning and the last one to the end, so that every sale finds one. #}
with snapshots as (

    {#- A version that went and came back unchanged is one. #}
    select
        *,
        row_number() over (partition by product_id, dbt_valid_from order by dbt_valid_to desc nulls first) as place
    from {{ ref('snp_shop__products') }}

),

versions as (

    select
        *,
        {{ warehouse.in_utc('dbt_valid_from') }} as began_at,
        row_number() over (partition by product_id order by dbt_valid_from) as version,
        {{ warehouse.in_utc('lead(dbt_valid_from) over (partition by product_id order by dbt_valid_from)') }} as next_began_at
    from snapshots
    where place = 1

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
    case when version = 1 then {{ warehouse.always('before') }} else began_at end as valid_from,
    coalesce(next_began_at, {{ warehouse.always('after') }}) as valid_to,
    next_began_at is null as is_current,
    next_began_at is null and dbt_valid_to is not null as is_deleted,
    false as is_inferred,
    sku,
    coalesce(product_name, sku, product_id) as product_name,
    category,
    subcategory,
    price,
    cost,
    price - cost as unit_margin,
    upper(coalesce(nullif(trim(currency), ''), '{{ warehouse.setting('default_currency') }}')) as currency,
    is_active,
    created_at
from versions

union all

select
    product_id || ':1', product_id, {{ warehouse.always('before') }}, {{ warehouse.always('after') }}, true, false, true,
    null, 'Unknown product', null, null, null, null, null, null, null, null
from (select product_id from inferred union all select 'unknown') as missing
