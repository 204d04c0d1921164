"""The process in which dbt runs, from inside; `tasks.dbt.process` starts it.

Apart from `tasks.dbt`, whose imports (driver, settings, landing) would add a sixth to the start of each run of dbt.

| module | what it does |
|---|---|
| `worker` | takes commands: parse, select, build |
| `combined`, `connections` | data tests asked together, connections kept from node to node |
"""
