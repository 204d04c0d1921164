{#- An amount in the reporting currency: to the cent, or to the places that its source counts in. -#}
{% macro to_reporting(amount, rate, places=2) -%}
    round(({{ amount }}) * ({{ rate }}), {{ places }})
{%- endmacro %}

{#-
  The part of `amount` that belongs to one of several rows, so that the parts add up to it to the cent: the difference
  between the rounded shares of all rows up to this one and of all rows before it.

  `running` is the sum of the rows' weights up to and with this row, `weight` this row's, `total` the sum of all.
-#}
{% macro share(amount, running, weight, total, places=2) -%}
    (round(({{ amount }})::numeric * ({{ running }}) / nullif({{ total }}, 0), {{ places }})
    - round(({{ amount }})::numeric * (({{ running }}) - ({{ weight }})) / nullif({{ total }}, 0), {{ places }}))
{%- endmacro %}

{#- A ratio that is null where its denominator is 0; sum first, divide last. -#}
{% macro ratio(numerator, denominator, places=4) -%}
    round(({{ numerator }})::numeric / nullif({{ denominator }}, 0), {{ places }})
{%- endmacro %}

{#- What stands for an e-mail address where people are matched: null for an empty one, so that nobody is matched by it. -#}
{% macro email_hash(expression) -%}
    md5(nullif(lower(trim({{ expression }})), ''))
{%- endmacro %}
