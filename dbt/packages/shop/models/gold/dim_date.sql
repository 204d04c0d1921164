with bounds as (

    select min(placed_at at time zone 'UTC')::date as first_day, max(placed_at at time zone 'UTC')::date as last_day
    from {{ ref('stg_shop__orders') }}
    union all
    select min(spent_on), max(spent_on) from {{ ref('int_ads__spend_daily') }}
    union all
    select min(started_at at time zone 'UTC')::date, max(started_at at time zone 'UTC')::date
    from {{ ref('int_shop__sessions') }}

),

days as (

    {#- Whole years, so that a calendar has no holes at its ends. #}
    select generate_series(
        date_trunc('year', min(first_day)),
        date_trunc('year', max(last_day)) + interval '1 year - 1 day',
        interval '1 day'
    )::date as date_day
    from bounds

)

select
    date_day,
    extract(year from date_day)::integer as year,
    extract(quarter from date_day)::integer as quarter,
    extract(month from date_day)::integer as month,
    to_char(date_day, 'FMMonth') as month_name,
    date_trunc('month', date_day)::date as month_start,
    extract(isoyear from date_day)::integer as iso_year,
    extract(week from date_day)::integer as iso_week,
    extract(isodow from date_day)::integer as day_of_week,
    to_char(date_day, 'FMDay') as day_name,
    extract(isodow from date_day) > 5 as is_weekend
from days
