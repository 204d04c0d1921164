{{ config(indexes=[{'columns': ['currency', 'date_day'], 'unique': true}]) }}
{%- set reporting = warehouse.setting('reporting_currency') -%}
with published as (

    select published_on, currency, units_per_euro from {{ ref('stg_rates__ecb') }}
    union all
    select distinct published_on, 'EUR', 1 from {{ ref('stg_rates__ecb') }}

),

{#- A rate holds until the next one is published: over weekends and holidays. #}
periods as (

    select
        currency,
        published_on,
        units_per_euro,
        coalesce(lead(published_on) over (partition by currency order by published_on) - 1, current_date + 1) as until
    from published

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
