with entities as (

    {% for list in warehouse_ads.entity_tables() -%}
    {%- set platform, table = list.table.split('.') -%}
    {%- set bronze = warehouse.bronze_table(platform, table) -%}
    select
        '{{ platform }}' as platform,
        {{ warehouse.bronze_value(bronze, 'account_id', 'text') }} as account_id,
        '{{ list.level }}' as level,
        {{ warehouse.bronze_value(bronze, list.id, 'text') }} as entity_id,
        {{ warehouse.bronze_value(bronze, list.name, 'text') if list.name else 'null::text' }} as entity_name,
        {{ warehouse.matched(warehouse.bronze_value(bronze, list.parent, 'text') if list.parent else 'null::text', '[^:]+$') }} as parent_id,
        {{ warehouse.bronze_value(bronze, list.status, 'text') }} as status,
        {{ warehouse.bronze_value(bronze, list.objective, 'text') if list.objective else 'null::text' }} as objective,
        {{ warehouse.bronze_value(bronze, '_loaded_at', 'timestamptz') }} as loaded_at
    from {{ bronze.rows }}
    {% if not loop.last %}union all{% endif %}
    {% endfor %}

)

{#- One ad may be listed in several groups. #}
select platform, account_id, level, entity_id, entity_name, parent_id, status, objective, loaded_at
from (
    select
        *,
        row_number() over (partition by platform, account_id, level, entity_id order by loaded_at desc, parent_id) as place
    from entities
) as placed
where place = 1
