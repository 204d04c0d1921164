{#- The last day of dim_date. -#}
{% macro calendar_end() -%}
    cast(date_trunc('year', current_date) + interval '2' year - interval '1' day as date)
{%- endmacro %}

{#- Whether a day is one of dim_date; a missing one is not. -#}
{% macro in_calendar(day) -%}
    coalesce({{ day }} between date '{{ warehouse.setting('calendar_start') }}' and {{ warehouse.calendar_end() }}, false)
{%- endmacro %}

{#- The day of a time in the reporting time zone; null where dim_date has no such day, as of a clock that was never set. -#}
{% macro calendar_day(time) -%}
    case when {{ warehouse.in_calendar(warehouse.reporting_date(time)) }} then {{ warehouse.reporting_date(time) }} end
{%- endmacro %}
