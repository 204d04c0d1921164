with days as (

    select period::date as date_day
    from {{ warehouse.periods(
        "date '" ~ warehouse.setting('calendar_start') ~ "'",
        warehouse.calendar_end(), 'day', 'dates'
    ) }}

)

select
    date_day,
    extract(year from date_day)::integer as year,
    extract(quarter from date_day)::integer as quarter,
    extract(month from date_day)::integer as month,
    {{ warehouse.name_of('month', 'date_day') }} as month_name,
    date_trunc('month', date_day)::date as month_start,
    extract(isoyear from date_day)::integer as iso_year,
    extract(week from date_day)::integer as iso_week,
    date_trunc('week', date_day)::date as week_start,
    extract(isodow from date_day)::integer as day_of_week,
    {{ warehouse.name_of('day', 'date_day') }} as day_name,
    extract(isodow from date_day) > 5 as is_weekend
from days
