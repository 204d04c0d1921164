{{ config(indexes=[{'columns': ['currency', 'date_day'], 'unique': true}]) }}
{%- set reporting = warehouse.setting('reporting_currency') -%}
with published as (

    select published_on, currency, units_per_euro from {{ ref('stg_rates__ecb') }}
    union all
    select distinct published_on, 'EUR', 1 from {{ ref('stg_rates__ecb') }}

),

{#- Counted, as days without any rate (weekends, holidays, a file that is late) say nothing of a currency. #}
publications as (

    select published_on, row_number() over (order by published_on) as publication
    from (select distinct published_on from published) as days_with_rates

),

{#- A rate holds until the next one is published: over weekends and holidays. A currency that is left out five times in a row
is suspended or has ended: its rate holds for a week, and amounts of later days have none. #}
periods as (

    select
        published.currency,
        published.published_on,
        published.units_per_euro,
        case
            when coalesce(lead(publications.publication) over later, last_one.publication + 1) - publications.publication > 5
                then least(published.published_on + 7, coalesce(lead(published.published_on) over later - 1, current_date + 1))
            else coalesce(lead(published.published_on) over later - 1, current_date + 1)
        end as until
    from published
    inner join publications on publications.published_on = published.published_on
    cross join (select max(publication) as publication from publications) as last_one
    window later as (partition by published.currency order by published.published_on)

),

daily as (

    select
        days.period::date as date_day,
        periods.currency,
        periods.published_on,
        periods.units_per_euro
    from periods
    cross join lateral {{ warehouse.periods('periods.published_on', 'periods.until', 'day', 'days') }}

)

select
    date_day,
    '{{ reporting }}'::text as currency,
    date_day as published_on,
    1::numeric as rate
from {{ ref('dim_date') }}

union all

select
    daily.date_day,
    daily.currency,
    daily.published_on,
    base.units_per_euro / daily.units_per_euro as rate
from daily
inner join daily as base on base.date_day = daily.date_day and base.currency = '{{ reporting }}'
where daily.currency <> '{{ reporting }}'
