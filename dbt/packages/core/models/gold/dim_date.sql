with days as (

    select generate_series(
        date '{{ warehouse.setting('calendar_start') }}',
        (date_trunc('year', current_date) + interval '2 years - 1 day')::date,
        interval '1 day'
    )::date as date_day

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
    date_trunc('week', date_day)::date as week_start,
    extract(isodow from date_day)::integer as day_of_week,
    to_char(date_day, 'FMDay') as day_name,
    extract(isodow from date_day) > 5 as is_weekend
from days
