{#-
  Reading bronze without breaking when it drifts. Bronze only ever gains columns, but a column that a model reads may not
  exist yet, may have been renamed by the source, or may hold another type than the model wants.

      {%- set bronze = bronze_table('shop', 'customers') -%}
      select
          _id as customer_id,
          {{ bronze_value(bronze, ['phone_number', 'phone'], 'text') }} as phone
      from {{ bronze.rows }}
-#}

{#-
  A bronze table: its rows that the source still has, the types of its columns, and by path the columns beside the one
  that a path names. Empty until it is loaded.
-#}
{% macro bronze_table(source_name, table_name) %}
    {%- set relation = source(source_name, table_name) -%}
    {%- set columns = {} -%}
    {%- set found = adapter.get_relation(relation.database, relation.schema, relation.identifier) if execute -%}
    {%- if found -%}
        {%- for column in adapter.get_columns_in_relation(found) -%}
            {%- do columns.update({column.name: column.data_type}) -%}
        {%- endfor -%}
    {%- endif -%}
    {%- set beside = {} -%}
    {%- if columns -%}
        {%- for path, column in warehouse.columns_beside(relation.identifier) -%}
            {%- do beside.setdefault(path, []).append(column) -%}
        {%- endfor -%}
        {%- set kept = ' where _deleted_at is null' if '_deleted_at' in columns else '' -%}
        {%- set rows = '(select * from ' ~ relation ~ kept ~ ') as bronze_rows' -%}
    {%- else -%}
        {%- set rows -%}
            (select null::text as _id, null::text as _root_id, null::bigint as _position, null::timestamptz as _extracted_at
            where false) as bronze_rows
        {%- endset -%}
    {%- endif -%}
    {{ return({'relation': relation, 'columns': columns, 'beside': beside, 'rows': rows}) }}
{% endmacro %}

{#- Path and name of each column that takes what the column of its path could neither take nor be widened for. -#}
{% macro columns_beside(relation_name) %}
    {%- set query -%}
        select path, column_name from ops.bronze_columns
        where relation = '{{ relation_name }}' and place > 1 order by path, place
    {%- endset -%}
    {{ return(run_query(query).rows | map('list') | list) }}
{% endmacro %}

{#-
  The value of a field as `type`. `paths` is one path (`address.zip`) or several, newest first, of which the first that
  is not null counts: the way to follow a rename. A value that did not fit its bronze column is taken from the columns
  beside it, of which a row fills one, or from `_rescued`;
  a value that cannot be read as `type` gives null, never an error.
-#}
{% macro bronze_value(bronze, paths, type) %}
    {%- set parts = [] -%}
    {%- for path in ([paths] if paths is string else paths) -%}
        {%- for column in [path | replace('.', '__')] + bronze.beside.get(path, []) if column in bronze.columns -%}
            {%- do parts.append(warehouse.cast_column('bronze_rows.' ~ adapter.quote(column), bronze.columns[column], type)) -%}
        {%- endfor -%}
        {%- if '_rescued' in bronze.columns -%}
            {%- do parts.append(warehouse.cast_extended_json("bronze_rows._rescued -> '" ~ path ~ "'", type)) -%}
        {%- endif -%}
    {%- endfor -%}
    {%- if parts | length > 1 -%}
        coalesce({{ parts | join(', ') }})
    {%- elif parts -%}
        {{ parts[0] }}
    {%- else -%}
        null::{{ type }}
    {%- endif -%}
{% endmacro %}

{#-
  The elements of a field as a JSON array, in each shape that bronze holds it in: an array, one object instead (whose fields
  became columns below the path), or either in `_rescued`. Null where there is nothing.
-#}
{% macro bronze_array(bronze, path) %}
    {%- set column = path | replace('.', '__') -%}
    {%- set fields = [] -%}
    {%- for name in bronze.columns if name.startswith(column ~ '__') -%}
        {%- do fields.append("'" ~ name[column | length + 2:] ~ "', to_jsonb(bronze_rows." ~ adapter.quote(name) ~ ')') -%}
    {%- endfor -%}
    {%- set shapes = [] -%}
    {%- if bronze.columns.get(column) == 'jsonb' -%}
        {%- do shapes.append('bronze_rows.' ~ adapter.quote(column)) -%}
    {%- endif -%}
    {%- if fields -%}
        {%- do shapes.append("nullif(jsonb_strip_nulls(jsonb_build_object(" ~ fields | join(', ') ~ ")), '{}')") -%}
    {%- endif -%}
    {%- if '_rescued' in bronze.columns -%}
        {%- do shapes.append("bronze_rows._rescued -> '" ~ path ~ "'") -%}
    {%- endif -%}
    {%- if shapes -%}
    (
        select case jsonb_typeof(shape.value)
            when 'array' then shape.value
            when 'object' then jsonb_build_array(shape.value)
        end
        from (select coalesce({{ shapes | join(', ') }}) as value) as shape
    )
    {%- else -%}
    null::jsonb
    {%- endif -%}
{% endmacro %}

{#- A column as `type`: as it is where the types agree, else through its text. -#}
{% macro cast_column(expression, column_type, type) %}
    {%- set names = {'timestamptz': 'timestamp with time zone', 'int': 'integer'} -%}
    {%- if column_type == names.get(type, type) -%}
        {{ return(expression) }}
    {%- elif column_type == 'jsonb' -%}
        {{ return(warehouse.cast_extended_json(expression, type)) }}
    {%- elif type == 'jsonb' -%}
        {{ return('to_jsonb(' ~ expression ~ ')') }}
    {%- else -%}
        {{ return(warehouse.try_cast(expression ~ '::text', type)) }}
    {%- endif -%}
{% endmacro %}

{#- A value of extended JSON (`{"$numberDecimal": "1.20"}`, `"text"`, `5`) as `type`. -#}
{% macro cast_extended_json(expression, type) %}
    {%- if type == 'jsonb' -%}{{ return('(' ~ expression ~ ')') }}{%- endif -%}
    {{ return(warehouse.try_cast(warehouse.extended_json_text(expression), type)) }}
{% endmacro %}

{#- The plain text of a scalar in extended JSON. -#}
{% macro extended_json_text(expression) %}
    {%- set wrappers = ['$numberDecimal', '$date', '$oid', '$uuid', '$numberDouble', '$text'] -%}
    {%- set unwrapped = [] -%}
    {%- for wrapper in wrappers -%}
        {%- do unwrapped.append('(' ~ expression ~ ") ->> '" ~ wrapper ~ "'") -%}
    {%- endfor -%}
    {{ return('coalesce(' ~ unwrapped | join(', ') ~ ', (' ~ expression ~ ") #>> '{}')") }}
{% endmacro %}

{#- Text as `type`, null where it cannot be read as that. -#}
{% macro try_cast(expression, type) %}
    {{ return(adapter.dispatch('try_cast', 'warehouse')(expression, type)) }}
{% endmacro %}

{% macro default__try_cast(expression, type) %}
    {%- if type == 'text' -%}{{ return('(' ~ expression ~ ')') }}{%- endif -%}
    {{ return('try_cast(' ~ expression ~ ' as ' ~ type ~ ')') }}
{% endmacro %}

{#- Made with the control tables: pg_input_is_valid, or what stands for it before Postgres 16. -#}
{% macro postgres__try_cast(expression, type) %}
    {%- if type == 'text' -%}{{ return('(' ~ expression ~ ')') }}{%- endif -%}
    {{ return(
        'case when ops.input_is_valid(' ~ expression ~ ", '" ~ type ~ "') then (" ~ expression ~ ')::' ~ type ~ ' end'
    ) }}
{% endmacro %}
