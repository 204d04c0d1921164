{#-
  The materialization of large facts: rows are made again by key, and the table that readers see is touched only where they
  are shown. The first build, a full refresh and a changed model make a table from nothing. Where there are rows to go on
  from, tasks/dbt has put a view of them in the schema aside, under the model's name, and then:

  1. `<model>__changed` becomes a table of the keys whose rows may differ now (a pre-hook, `find_changed`);
  2. `<model>__made` becomes a table of the rows that the model's query makes of those keys (`where {{ warehouse.is_changed(...) }}`);
  3. the view becomes what the table will be: its rows of other keys, and those that were made. Models above and tests read it.

  tasks/dbt/swap.py then deletes and inserts in the table itself. A key that has gone is in `__changed` and makes no row.

      {{ config(
          materialized='incremental_by_key',
          unique_key='order_id',
          pre_hook="{{ warehouse.find_changed(my_project.changed_orders()) }}",
      ) }}

  `unique_key` names a column without nulls; several rows may share a key. By hand, outside of a schema aside, such a model is
  built from nothing.
-#}
{% materialization incremental_by_key, adapter='postgres' %}
    {%- if not warehouse.goes_on() -%}
        {%- set made = dbt.materialization_table_default() -%}
        {#- Models above, and the first increment, are planned by what is in the table. -#}
        {% do run_query('analyze ' ~ this) %}
        {{ return(made) }}
    {%- endif -%}
    {%- set shown = this.incorporate(type='view') -%}
    {%- set made = warehouse.beside('made') -%}
    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}
    {% call statement('main') -%}
        {{ get_create_table_as_sql(False, made, sql) }}
    {%- endcall %}
    {% do create_indexes(made) %}
    {% call statement('view') -%}
        {{ warehouse.kept_and_made(made) }}
    {%- endcall %}
    {% do persist_docs(shown, model) %}
    {{ adapter.commit() }}
    {{ return({'relations': [shown]}) }}
{% endmaterialization %}

{#- Whether the model goes on from rows that are there. -#}
{% macro goes_on() %}
    {%- if not execute or model.config.materialized != 'incremental_by_key' or not this.schema.endswith('__next') -%}
        {{ return(false) }}
    {%- endif -%}
    {%- set found = load_cached_relation(this) -%}
    {{ return(found is not none and found.is_view) }}
{% endmacro %}

{#-
  What this run made of another incremental model: `live`, the table that readers see, and `changed`, the table of the keys
  that were made again. Where it goes on from no rows, or is not part of the run, all of it is `live`.
-#}
{% macro made_again(model) %}
    {%- set found = load_cached_relation(model) if execute and model.schema.endswith('__next') else none -%}
    {%- if found is none or not found.is_view -%}
        {{ return({'live': model, 'changed': none}) }}
    {%- endif -%}
    {{ return({
        'live': warehouse.live(model),
        'changed': model.incorporate(path={'identifier': model.identifier ~ '__changed'}, type='table'),
    }) }}
{% endmacro %}

{#- The table that readers see, of a relation aside. -#}
{% macro live(relation) %}
    {{ return(relation.incorporate(path={'schema': relation.schema[:-('__next' | length)]})) }}
{% endmacro %}

{#- A table aside that belongs to the model. -#}
{% macro beside(role) %}
    {{ return(this.incorporate(path={'identifier': this.identifier ~ '__' ~ role}, type='table')) }}
{% endmacro %}

{#-
  Pre-hook: `changed` is a query of the keys whose rows may differ now; one that is told in vain costs time only. `further` is
  a query of more keys, which may read those found by then (`warehouse.beside('changed')`).
-#}
{% macro find_changed(changed, further=none) %}
    {%- if warehouse.goes_on() -%}
        {%- set key = config.require('unique_key') -%}
        {%- set found = warehouse.beside('changed') -%}
        {{ warehouse.plan_for_few_rows() }}
        create table {{ found }} as select distinct {{ key }} from ({{ changed }}) as found;
        alter table {{ found }} add primary key ({{ key }});
        analyze {{ found }};
        {%- if further %}
        insert into {{ found }} select {{ key }} from ({{ further }}) as further on conflict do nothing;
        analyze {{ found }};
        {%- endif %}
    {%- endif -%}
{% endmacro %}

{#-
  Few of many rows are found, and then looked up. By its defaults Postgres would not share the reading among workers, would
  sort on disk, and would rather read a table whole than look up one row in a hundred, as on a turning disk.
-#}
{% macro plan_for_few_rows() %}
        set local parallel_tuple_cost = 0;
        set local random_page_cost = 1.1;
        set local work_mem = '64MB';
{%- endmacro %}

{#- Condition on the rows that a model makes: all of them where it is built from nothing. -#}
{% macro is_changed(key) -%}
    {%- if warehouse.goes_on() -%}
        {{ key }} in (select {{ key.split('.')[-1] }} from {{ warehouse.beside('changed') }})
    {%- else -%}true{%- endif -%}
{%- endmacro %}

{#- The condition stands outside, so that Postgres sees two plain tables, and uses their indexes. -#}
{% macro kept_and_made(made) %}
    {%- set live = warehouse.live(this) -%}
    {%- set key = config.require('unique_key') -%}
    {%- set columns = adapter.get_columns_in_relation(this) | map(attribute='quoted') | join(', ') -%}
    analyze {{ made }};
    create or replace view {{ this }} as
    select {{ columns }}
    from (
        select {{ columns }}, false as is_made from {{ live }}
        union all
        select {{ columns }}, true from {{ made }}
    ) as row_of_either
    left join {{ warehouse.beside('changed') }} as changed (changed_key) on changed.changed_key = row_of_either.{{ key }}
    where is_made or changed.changed_key is null
{% endmacro %}
