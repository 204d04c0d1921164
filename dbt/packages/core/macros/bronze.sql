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
  A bronze table: its rows that the source still has, the types of its columns, by path the columns beside the one that a
  path names, and what was read of it. Empty until it is loaded.
-#}
{% macro bronze_table(source_name, table_name) %}
    {%- set relation = source(source_name, table_name) -%}
    {%- set columns = {} -%}
    {%- if execute -%}
        {#- Never by get_relation: while one thread of dbt reads what a schema holds, others take what it has read so far for
            the whole, and a table that is there for missing. -#}
        {%- for column in adapter.get_columns_in_relation(relation) -%}
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
    {{ return({'relation': relation, 'columns': columns, 'beside': beside, 'rows': rows, 'read': []}) }}
{% endmacro %}

{#-
  Path and name of each column that a path alone does not tell: one that takes what the column of its path could neither take
  nor be widened for, and one whose name is another than its path.
-#}
{% macro columns_beside(relation_name) %}
    {%- set query -%}
        select path, column_name from ops.bronze_columns
        where relation = '{{ relation_name }}' and (position > 1 or column_name <> replace(path, '.', '__'))
        order by path, position
    {%- endset -%}
    {{ return(run_query(query).rows | map('list') | list) }}
{% endmacro %}

{#-
  The value of a field as `type`. `paths` is one path (`address.zip`) or several, newest first, of which the first that
  is not null counts: the way to follow a rename. A value that did not fit its bronze column is taken from the columns
  beside it, of which a row fills one, or from `_rescued`;
  a value that cannot be read as `type` gives null, never an error. So does a number or time that is not finite, as one NaN
  would spoil every sum, and text that is not valid UTF-8; `bronze_unreadable` names the fields of a row for which it did.
-#}
{% macro bronze_value(bronze, paths, type) %}
    {%- set parts = [] -%}
    {%- set there = [] -%}
    {%- for path in ([paths] if paths is string else paths) -%}
        {%- for column in [path | replace('.', '__')] + bronze.beside.get(path, []) if column in bronze.columns -%}
            {%- set expression = 'bronze_rows.' ~ adapter.quote(column) -%}
            {%- do parts.append(warehouse.cast_column(expression, bronze.columns[column], type)) -%}
            {%- do there.append(warehouse.is_given(expression, bronze.columns[column])) -%}
        {%- endfor -%}
        {%- if '_rescued' in bronze.columns -%}
            {%- set expression = "bronze_rows._rescued -> '" ~ path | replace("'", "''") ~ "'" -%}
            {%- do parts.append(warehouse.cast_column(expression, 'jsonb', type)) -%}
            {%- do there.append(warehouse.is_given(expression, 'jsonb')) -%}
        {%- endif -%}
    {%- endfor -%}
    {%- if parts -%}
        {%- set value = warehouse.finite('coalesce(' ~ parts | join(', ') ~ ')' if parts | length > 1 else parts[0], type) -%}
        {%- do bronze.read.append({
            'path': paths if paths is string else paths[0],
            'type': type,
            'is_unreadable': '(' ~ there | join(' or ') ~ ') and ' ~ value ~ ' is null',
        }) -%}
        {{ return(value) }}
    {%- else -%}
        null::{{ type }}
    {%- endif -%}
{% endmacro %}

{#-
  The paths, as one text, of those fields that a model has read so far whose value bronze holds and `bronze_value` cannot show:
  NaN, text that is no number, half a piece. Null where there is none. `types` says which fields count.
-#}
{% macro bronze_unreadable(bronze, types=['numeric', 'double precision', 'bigint', 'integer']) %}
    {%- set found = [] -%}
    {%- for field in bronze.read if field.type in types -%}
        {%- do found.append('case when ' ~ field.is_unreadable ~ " then '" ~ field.path | replace("'", "''") ~ "' end") -%}
    {%- endfor -%}
    {%- if found -%}
        nullif(concat_ws(', ', {{ found | join(', ') }}), '')
    {%- else -%}
        null::text
    {%- endif -%}
{% endmacro %}

{#- Whether a column holds a value at all: blank text and JSON's null are none. -#}
{% macro is_given(expression, column_type) -%}
    {%- if column_type in ('jsonb', 'text') -%}
        {{ return('trim(' ~ ('(' ~ expression ~ ") #>> '{}'" if column_type == 'jsonb' else expression) ~ ") <> ''") }}
    {%- endif -%}
    {{ return(expression ~ ' is not null') }}
{%- endmacro %}

{#- A text as it stands; null where it is empty or blanks alone: what joins people must not join those who gave nothing. -#}
{% macro not_blank(expression) -%}
    case when {{ warehouse.is_given(expression, 'text') }} then {{ expression }} end
{%- endmacro %}

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

{#- A column as `type`: as it is where the types agree, else through its text. Days of times are those of UTC. -#}
{% macro cast_column(expression, column_type, type) %}
    {%- set names = {'timestamptz': 'timestamp with time zone', 'int': 'integer'} -%}
    {%- if column_type == names.get(type, type) -%}
        {{ return(expression) }}
    {%- elif column_type == 'timestamp with time zone' and type == 'date' -%}
        {{ return('(' ~ expression ~ " at time zone 'UTC')::date") }}
    {%- elif column_type == 'date' and names.get(type) == 'timestamp with time zone' -%}
        {{ return(expression ~ "::timestamp at time zone 'UTC'") }}
    {%- elif column_type == 'jsonb' -%}
        {{ return(warehouse.try_cast(warehouse.extended_json_text(expression), type)) }}
    {%- elif type == 'jsonb' -%}
        {{ return('to_jsonb(' ~ expression ~ ')') }}
    {%- else -%}
        {{ return(warehouse.try_cast(expression ~ '::text', type)) }}
    {%- endif -%}
{% endmacro %}

{#- A value of extended JSON (`{"$numberDecimal": "1.20"}`, `"text"`, `5`) as `type`; null as `bronze_value` gives it. -#}
{% macro cast_extended_json(expression, type) %}
    {{ return(warehouse.finite(warehouse.cast_column('(' ~ expression ~ ')', 'jsonb', type), type)) }}
{% endmacro %}

{#- The plain text of a scalar in extended JSON; null for text that Postgres cannot hold (`$text`, `$json`: its bytes). -#}
{% macro extended_json_text(expression) %}
    {%- set wrappers = ['$numberDecimal', '$date', '$oid', '$uuid', '$numberDouble'] -%}
    {%- set unwrapped = [] -%}
    {%- for wrapper in wrappers -%}
        {%- do unwrapped.append('(' ~ expression ~ ") ->> '" ~ wrapper ~ "'") -%}
    {%- endfor -%}
    {%- set bytes = 'coalesce((' ~ expression ~ ") -> '$text', (" ~ expression ~ ") -> '$json')" -%}
    {{ return('case when ' ~ bytes ~ ' is null then coalesce(' ~ unwrapped | join(', ') ~ ', (' ~ expression ~ ") #>> '{}') end") }}
{% endmacro %}

{#- A number or time as it is, null where it is NaN or infinite. -#}
{% macro finite(expression, type) %}
    {{ return(adapter.dispatch('finite', 'warehouse')(expression, type)) }}
{% endmacro %}

{% macro default__finite(expression, type) %}
    {%- if type in ['double precision', 'double', 'real'] -%}
        {{ return('case when is_finite(' ~ expression ~ ') then ' ~ expression ~ ' end') }}
    {%- endif -%}
    {{ return(expression) }}
{% endmacro %}

{% macro postgres__finite(expression, type) %}
    {%- set name = type.split('(')[0] -%}
    {%- if name in ['numeric', 'double precision', 'real'] -%}
        {{ return("nullif(nullif(nullif(" ~ expression ~ ", 'NaN'), 'Infinity'), '-Infinity')") }}
    {%- elif name in ['date', 'timestamp', 'timestamptz', 'timestamp with time zone'] -%}
        {{ return("nullif(nullif(" ~ expression ~ ", 'infinity'), '-infinity')") }}
    {%- endif -%}
    {{ return(expression) }}
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
    {%- set valid = 'ops.input_is_valid(' ~ expression ~ ", '" ~ type ~ "')" -%}
    {%- if type.startswith('date') or type.startswith('time') -%}
        {#- Words such as `now` and `tomorrow` mean another day with each build. #}
        {%- set valid = expression ~ " ~ '[0-9]' and " ~ valid -%}
    {%- endif -%}
    {{ return('case when ' ~ valid ~ ' then (' ~ expression ~ ')::' ~ type ~ ' end') }}
{% endmacro %}
