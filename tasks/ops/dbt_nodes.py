"""`ops.dbt_nodes`: which version of each model readers see, and up to when it holds what was loaded."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tasks.dbt.graph import Built, Graph, State
from tasks.ops import resets

if TYPE_CHECKING:
    import psycopg


def read_state(connection: psycopg.Connection[Any], graph: Graph) -> State:
    """Return what the warehouse holds of a project's nodes, and when their sources last changed."""
    built = connection.execute("select node, fingerprint, holds_until, tested from ops.dbt_nodes").fetchall()
    schemas = sorted({node.schema for node in graph.nodes.values()})
    present = connection.execute(
        "select n.nspname, c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace "
        "where n.nspname = any(%s) and c.relkind in ('r', 'p', 'v', 'm')",
        [schemas],
    ).fetchall()
    changes = _changes(connection)
    replaced = resets.replaced_at(connection)
    return State(
        {node: Built(*told) for node, *told in built},
        {name: at for name, _, at in changes},
        {(schema, name) for schema, name in present},
        {name: replaced[table] for name, table, _ in changes if table in replaced},
    )


def loaded_names(connection: psycopg.Connection[Any], tables: Collection[str]) -> set[str]:
    """Return the names under which dbt knows what is loaded of tables (`source.table`), child tables included."""
    wanted = frozenset(tables)
    return {name for name, table, _ in _changes(connection) if table in wanted}


def _changes(connection: psycopg.Connection[Any]) -> list[tuple[str, str, datetime]]:
    """Return for each relation of bronze its name in dbt, its table, and when it last changed.

    A table's first load counts as a change though it brought no row: models above it can be built from then on.
    """
    return connection.execute(
        """
        select t.source || '.' || substr(t.relation, length(t.source) + 3), t.source || '.' || t.table_name, c.at
        from ops.tables t
        join (
            select source, table_name, coalesce(
                max(loaded_at) filter (
                    where rows_inserted + rows_updated + rows_deleted + child_rows + schema_changes > 0
                ),
                min(loaded_at)
            ) as at
            from ops.batches group by source, table_name
        ) c using (source, table_name)
        """
    ).fetchall()


def write(
    connection: psycopg.Connection[Any], graph: Graph, holds_until: Mapping[str, datetime], began: datetime
) -> None:
    """Record what was built, in the transaction that shows it to readers."""
    tested = graph.tested()
    with connection.cursor() as cursor:
        cursor.executemany(
            "insert into ops.dbt_nodes (node, relation, fingerprint, holds_until, tested, built_at)"
            " values (%s, %s, %s, %s, %s, %s)"
            " on conflict (node) do update set relation = excluded.relation, fingerprint = excluded.fingerprint,"
            " holds_until = excluded.holds_until, tested = excluded.tested, built_at = excluded.built_at",
            [
                (key, ".".join(graph.nodes[key].relation), graph.nodes[key].fingerprint, until, tested[key], began)
                for key, until in holds_until.items()
            ],
        )
