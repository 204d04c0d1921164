{%- set bronze = warehouse.bronze_table('rates', 'ecb') -%}
{%- set currencies = [] -%}
{%- for column in bronze.columns if modules.re.fullmatch('[A-Z]{3}', column) -%}
    {%- do currencies.append(column) -%}
{%- endfor -%}
{#- A currency is a column, so that a new one needs no change here; "N/A" stands for a day without a rate. #}
select
    {{ warehouse.bronze_value(bronze, 'Date', 'date') }} as published_on,
    rates.currency,
    rates.units_per_euro
from {{ bronze.rows }}
cross join lateral (
    values
    {% for currency in currencies -%}
    ('{{ currency }}', {{ warehouse.bronze_value(bronze, currency, 'numeric') }}){{ ',' if not loop.last }}
    {% else -%}
    (null::text, null::numeric)
    {% endfor %}
) as rates (currency, units_per_euro)
where rates.units_per_euro > 0
