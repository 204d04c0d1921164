{#-
  What databases write differently, so that models hold none of it (tests/unit/dbt/test_portable.py). Each macro is dispatched:
  an implementation for another database is a macro `<adapter>__<name>`, here or in a package named in dbt's `dispatch` setting.
-#}

{#- The elements of a JSON array as rows of `alias (value, place)`, place from 1: what follows `cross join lateral`. -#}
{% macro json_elements(array, alias) %}
    {{ return(adapter.dispatch('json_elements', 'warehouse')(array, alias)) }}
{% endmacro %}

{% macro postgres__json_elements(array, alias) -%}
    jsonb_array_elements({{ array }}) with ordinality as {{ alias }} (value, place)
{%- endmacro %}

{#- A field of a JSON object as JSON, or as text. -#}
{% macro json_field(object, name, as_text=false) %}
    {{ return(adapter.dispatch('json_field', 'warehouse')(object, name, as_text)) }}
{% endmacro %}

{% macro postgres__json_field(object, name, as_text) -%}
    {{ object }} {{ '->>' if as_text else '->' }} '{{ name }}'
{%- endmacro %}

{#- A JSON value where it is an array, else an empty one. -#}
{% macro json_array_or_empty(value) %}
    {{ return(adapter.dispatch('json_array_or_empty', 'warehouse')(value)) }}
{% endmacro %}

{% macro postgres__json_array_or_empty(value) -%}
    case when jsonb_typeof({{ value }}) = 'array' then {{ value }} else '[]' end
{%- endmacro %}

{#- Days or months from one to another, both with: rows of `alias (period)`. -#}
{% macro periods(first, last, unit, alias) %}
    {{ return(adapter.dispatch('periods', 'warehouse')(first, last, unit, alias)) }}
{% endmacro %}

{% macro postgres__periods(first, last, unit, alias) -%}
    generate_series({{ first }}, {{ last }}, interval '1' {{ unit }}) as {{ alias }} (period)
{%- endmacro %}

{#- Whether a text matches a regular expression. -#}
{% macro matches(text, pattern, ignore_case=false) %}
    {{ return(adapter.dispatch('matches', 'warehouse')(text, pattern, ignore_case)) }}
{% endmacro %}

{% macro postgres__matches(text, pattern, ignore_case) -%}
    {{ text }} {{ '~*' if ignore_case else '~' }} '{{ pattern }}'
{%- endmacro %}

{#- What the first group of a regular expression matches in a text, null where it does not match. -#}
{% macro matched(text, pattern) %}
    {{ return(adapter.dispatch('matched', 'warehouse')(text, pattern)) }}
{% endmacro %}

{% macro postgres__matched(text, pattern) -%}
    substring({{ text }} from '{{ pattern }}')
{%- endmacro %}

{#- Hours from one time to another, with fractions. -#}
{% macro hours_between(first, last) %}
    {{ return(adapter.dispatch('hours_between', 'warehouse')(first, last)) }}
{% endmacro %}

{% macro postgres__hours_between(first, last) -%}
    (extract(epoch from {{ last }} - {{ first }}) / 3600)
{%- endmacro %}

{#- The time without a zone that clocks in UTC show, of one with; and back. -#}
{% macro without_zone(time) %}
    {{ return(adapter.dispatch('without_zone', 'warehouse')(time)) }}
{% endmacro %}

{% macro postgres__without_zone(time) -%}
    ({{ time }}) at time zone 'UTC'
{%- endmacro %}

{% macro in_utc(time) %}
    {{ return(adapter.dispatch('in_utc', 'warehouse')(time)) }}
{% endmacro %}

{% macro postgres__in_utc(time) -%}
    ({{ time }}) at time zone 'UTC'
{%- endmacro %}

{#- A moment before, or after, all others. -#}
{% macro always(end='before') %}
    {{ return(adapter.dispatch('always', 'warehouse')(end)) }}
{% endmacro %}

{% macro postgres__always(end) -%}
    timestamptz '{{ '-' if end == 'before' }}infinity'
{%- endmacro %}

{#- Name of a day's `month` or `day` of the week, in English. -#}
{% macro name_of(part, day) %}
    {{ return(adapter.dispatch('name_of', 'warehouse')(part, day)) }}
{% endmacro %}

{% macro postgres__name_of(part, day) -%}
    to_char({{ day }}, '{{ {'month': 'FMMonth', 'day': 'FMDay'}[part] }}')
{%- endmacro %}
