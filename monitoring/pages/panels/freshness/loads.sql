/*
title: Last loads
question: When did each table last get rows, and are they in the models?
definition: Last load is the last batch that was committed; in models is the moment up to which loads are in silver and gold.
order: 20
needs: [ops.batches, ops.models_built]
columns:
  table: text
  last_load: {title: last load, format: time}
  age: age
  last_change: {title: last change, format: time}
  in_models: {title: in models up to, format: time}
  waiting: {title: changes not in models, format: count}
*/
with loads as (
    select b.source, b.table_name, max(b.loaded_at) as last_load,
        max(b.loaded_at) filter (where b.rows_inserted + b.rows_updated + b.rows_deleted > 0) as last_change,
        sum(b.rows_inserted + b.rows_updated + b.rows_deleted) filter (
            where b.loaded_at >= m.built_at or m.built_at is null
        ) as waiting,
        max(m.built_at) as in_models
    from ops.batches as b
    left join ops.models_built as m on m.source = b.source and m.table_name = b.table_name
    where %(source)s::text is null or b.source = %(source)s
    group by b.source, b.table_name
)

select source || '.' || table_name as "table", last_load, now() - last_load as age, last_change, in_models,
    coalesce(waiting, 0)::bigint as waiting
from loads
order by last_load
limit 300
