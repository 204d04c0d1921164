/*
title: Schema changes
question: Which field, what was done about it, and which models does it touch?
definition: >
  Open ones, newest first, after a table's first load. `warehouse drift write-dbt TABLE` brings the staging model up to it,
  `warehouse drift resolve` closes one. Models are those that read the table, directly or not, by dbt's lineage.
order: 20
needs: [monitoring.schema_changes, monitoring.lineage]
columns:
  seen_at: {title: seen, format: time}
  table: text
  field: code
  change: text
  old_type: {title: from}
  new_type: {title: to}
  action: {title: done about it}
  staging: {title: read by}
  marts: {title: marts above, format: count}
empty: No open schema change in this period.
*/
select c.seen_at, c.source || '.' || c.table_name as "table", c.field, c.change, c.old_type, c.new_type, c.action,
    models.staging, models.marts
from monitoring.schema_changes as c
cross join lateral (
    select array_agg(l.relation order by l.relation) filter (where l.relation like 'silver.stg%%') as staging,
        count(*) filter (where l.relation like 'gold%%') as marts
    from monitoring.lineage as l
    where c.source || '.' || c.table_name = any(l.sources)
) as models
where c.resolved_at is null and c.seen_at >= %(since)s and c.seen_at < %(until)s
    and (%(source)s::text is null or c.source = %(source)s)
    and (%(table)s::text is null or c.table_name = %(table)s)
order by c.id desc
limit 100
