with places as (

    select shipping_country as country, shipping_postal_code as postal_code, shipping_city as city
    from {{ ref('int_shop__orders') }}
    union
    select country, postal_code, city from {{ ref('snp_shop__customers') }}
    union
    select null, null, null

)

{#- Addresses that hold what separates the parts in the key may share one. #}
select
    coalesce(country, '') || '|' || coalesce(postal_code, '') || '|' || coalesce(city, '') as geography_id,
    min(country) as country,
    min(postal_code) as postal_code,
    min(city) as city
from (
    select upper(nullif(country, '')) as country, nullif(postal_code, '') as postal_code, nullif(city, '') as city from places
) as cleaned
group by 1
