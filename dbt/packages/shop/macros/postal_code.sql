{#-
  A postal code as its country writes it. Codes that were stored as numbers lost their leading zeros: they are put back where
  all codes of the country are digits of one length, and nowhere else.
-#}
{% macro postal_code(code, country) %}
    {%- set lengths = {
        4: ['AT', 'AU', 'BE', 'BG', 'CH', 'CY', 'DK', 'GE', 'HU', 'LI', 'LU', 'NO', 'NZ', 'SI', 'TN', 'ZA'],
        5: ['DE', 'EE', 'ES', 'FI', 'FR', 'GR', 'HR', 'IT', 'LT', 'MX', 'MY', 'RS', 'TH', 'TR', 'UA', 'US', 'VA'],
        6: ['CN', 'IN', 'KZ', 'RO', 'RU', 'SG', 'VN'],
    } -%}
    {%- set countries = "upper(" ~ country ~ ")" -%}
    case
        {% for length, members in lengths.items() -%}
        when {{ countries }} in ({{ warehouse.literals(members) }}) and ({{ code }}) ~ '^[0-9]{1,{{ length }}}$'
            then lpad({{ code }}, {{ length }}, '0')
        {% endfor -%}
        else {{ code }}
    end
{%- endmacro %}
