"""`ops.dbt_projects`: parsed dbt projects by their checksum, so that a run knows without dbt what there is to build."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tasks.dbt.graph import Graph

if TYPE_CHECKING:
    import psycopg

# A rolling upgrade has two; one more is for the developer who goes back and forth.
_PROJECTS_KEPT = 3


def read(connection: psycopg.Connection[Any], checksum: str) -> Graph | None:
    """Return the project with that checksum, None when it has not been parsed since it last changed."""
    row = connection.execute("select graph from ops.dbt_projects where checksum = %s", [checksum]).fetchone()
    return Graph.from_json(row[0]) if row else None


def write(connection: psycopg.Connection[Any], checksum: str, graph: Graph) -> None:
    """Remember a parsed project, and forget all but the newest few."""
    from psycopg.types.json import Jsonb

    with connection.transaction():
        connection.execute(
            "insert into ops.dbt_projects (checksum, graph) values (%s, %s) "
            "on conflict (checksum) do update set graph = excluded.graph, parsed_at = now()",
            [checksum, Jsonb(graph.to_json())],
        )
        connection.execute(
            "delete from ops.dbt_projects where checksum not in "
            "(select checksum from ops.dbt_projects order by parsed_at desc limit %s)",
            [_PROJECTS_KEPT],
        )
