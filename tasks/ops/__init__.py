"""The control tables: a module for each table of schema `ops`, with all of its SQL, and the migrations that make them.

| module | table | one row per |
|---|---|---|
| `batches` | `ops.batches`, published as `monitoring.loads` | loaded batch |
| `checkpoints` | `ops.checkpoints`, `ops.checkpoint_history` | table; value that its checkpoint had |
| `columns` | `ops.columns`, published as the view `ops.bronze_columns` | column of bronze |
| `dbt_nodes` | `ops.dbt_nodes` | model that readers see |
| `dbt_projects` | `ops.dbt_projects` | parsed dbt project |
| `field_statistics` | `ops.field_statistics` | field and batch |
| `identity` | `ops.warehouse` | warehouse: its id |
| `models_built` | `ops.models_built` | table that dbt models read |
| `pulls` | `ops.pulls`, published as the views `ops.account_days`, `ops.restatements` | pull of a day of an account |
| `readers` | `ops.readers`, `ops.personal_columns` | role that reads gold; name of a column that it may not see |
| `rejects` | `ops.rejects`, published as `monitoring.rejects` | rejected document or row |
| `relations` | `ops.tables` | relation of bronze |
| `resets` | `ops.resets` | reset of a table |
| `schema_changes` | `ops.schema_changes`, published as `monitoring.schema_changes` | change of a source's schema |
| `turns` | `ops.turns` | source that is asked at most so often |
| `usual_fields` | `ops.usual_fields` | relation of bronze whose fields are watched |
| `waits` | `ops.waits` | source that gives nothing for a time |

Functions commit nothing: they take part in the transaction of whoever calls them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:
    import psycopg

Executor: TypeAlias = "psycopg.Connection[Any] | psycopg.Cursor[Any]"
"""What statements are run on."""


class TableKey(NamedTuple):
    """What names a table in every control table: its source and its own name there."""

    source: str
    table_name: str

    def __str__(self) -> str:
        """Return `source.table`, as people write it."""
        return f"{self.source}.{self.table_name}"
