"""Bronze in Postgres: the destination, and what only Postgres needs and can.

`destination` is the way in for loading. `writer` brings a batch in: `new_tables` fills new relations by COPY, and
`delta`, `stage` and `merge` do the rest. `ddl` changes relations and makes views above again. `swap` lets relations
that were filled aside take the places of others; rebuilding a table, replacing its rows and building models share it.
"""
