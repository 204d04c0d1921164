{#-
  Further columns of bronze that a company wants in a staging model of a package, by the var `passthrough_columns`:

      vars:
        passthrough_columns:
          stg_shop__orders:
            - {name: gift_note, path: gift.note, type: text}

  `path` is one path or several, as with `bronze_value`; without it, it is the name. The macro stands last in the select list.
-#}
{% macro passthrough(bronze) -%}
    {%- for column in var('passthrough_columns', {}).get(model.name, []) -%}
    , {{ warehouse.bronze_value(bronze, column.path or column.name, column.type) }} as {{ adapter.quote(column.name) }}
    {%- endfor -%}
{%- endmacro %}
