{#-
  How the large facts are built piece by piece. Before such a model runs, in its own transaction:

  1. `changed` is a temporary table of the keys whose rows may differ now;
  2. their rows are deleted;
  3. the model's query makes the rows of those keys anew (`where {{ warehouse.is_changed(...) }}`) and appends them.

  A key that has gone is in `changed` and makes no row. The first build, a full refresh and a changed model or setting
  (`_rules`) take all keys. Use it as a pre-hook and with incremental_strategy='append'.
-#}
{% macro replace_changed(key, changed) %}
    {%- if is_incremental() -%}
        create temporary table changed_{{ model.name }} on commit drop as select distinct {{ key }} from ({{ changed }}) as found;
        create index on changed_{{ model.name }} ({{ key }});
        analyze changed_{{ model.name }};
        delete from {{ this }} where {{ key }} in (select {{ key }} from changed_{{ model.name }});
    {%- endif -%}
{% endmacro %}

{#- Condition on the rows that a model makes anew: all of them in a full build. -#}
{% macro is_changed(key) -%}
    {%- if is_incremental() -%}{{ key }} in (select {{ key.split('.')[-1] }} from changed_{{ model.name }}){%- else -%}true{%- endif -%}
{%- endmacro %}

{#- A number for the model's text and the settings, kept in each row: rows made by other rules are made again. -#}
{% macro rules() -%}
    {{ return(local_md5(model.raw_code ~ warehouse.all_settings())[:7] | int(base=16)) }}
{%- endmacro %}

{% macro all_settings() -%}
    {{ warehouse.click_ids() }}
    {%- for name in ['reporting_timezone', 'reporting_currency', 'default_currency', 'revenue_includes_shipping',
                     'cancelled_statuses', 'own_domains', 'payment_domains', 'attribution_lookback_days',
                     'attribution_half_life_hours'] -%}
        {{ warehouse.setting(name) }};
    {%- endfor -%}
{%- endmacro %}
