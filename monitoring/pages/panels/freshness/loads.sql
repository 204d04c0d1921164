/*
title: Last loads
question: When did each table last get rows, and are they in the models?
definition: Last load is the last batch that was committed; in models is the moment up to which loads are in silver and gold.
order: 20
needs: [monitoring.loads]
columns:
  table: text
  last_load: {title: last load, format: time}
  age: age
  last_change: {title: last change, format: time}
  in_models: {title: in models up to, format: time}
  waiting: {title: changes not in models, format: count}
*/
with loads as (
    select source, table_name, max(loaded_at) as last_load,
        max(loaded_at) filter (where rows_inserted + rows_updated + rows_deleted > 0) as last_change,
        sum(rows_inserted + rows_updated + rows_deleted) filter (
            where loaded_at >= built_at or built_at is null
        ) as waiting,
        max(built_at) as in_models
    from monitoring.loads
    where %(source)s::text is null or source = %(source)s
    group by source, table_name
)

select source || '.' || table_name as "table", last_load, now() - last_load as age, last_change, in_models,
    coalesce(waiting, 0)::bigint as waiting
from loads
order by last_load
limit 300
