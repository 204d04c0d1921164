{{ config(severity='warn') }}
-- Days of spend in a table of bronze that is not read, which the one that is read has not: say by the var `ads_tables`
-- which one is to be read, or load these days into it.
{%- set others = [] -%}
{%- for platform, known in warehouse_ads.spend_tables().items() if platform not in var('ads_tables', {}) -%}
    {%- for name in known.tables -%}
        {%- set bronze = warehouse.bronze_table(name.split('.')[0], name.split('.')[1]) -%}
        {%- set day = warehouse.bronze_value(bronze, known.day, 'date') -%}
        {%- set read = '(select spent_on from ' ~ ref('stg_ads__' ~ platform) ~ ' where spent_on is not null)' -%}
        {%- do others.append("select '" ~ name ~ "' as table_name, " ~ day ~ ' as spent_on from ' ~ bronze.rows
                             ~ ' where ' ~ day ~ ' not in ' ~ read) -%}
    {%- endfor -%}
{%- endfor %}
{{ others | join('\nunion\n') or 'select null as table_name, null::date as spent_on where false' }}
