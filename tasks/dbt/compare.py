"""What another version of the models would change: built in schemas aside, compared with what readers see, dropped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg import sql

from tasks import database
from tasks.dbt import start, swap
from tasks.dbt.graph import EPHEMERAL, BuildPlan, Graph
from tasks.dbt.results import read_nodes
from tasks.ops import dbt_nodes
from tasks.ops.migrations import migrate
from tasks.settings import Settings

if TYPE_CHECKING:
    import psycopg


@dataclass(frozen=True)
class Difference:
    """How a relation differs from what readers see.

    Attributes:
        relation: Schema and name.
        columns: Added (+), removed (-) and retyped columns.
        before: Rows that readers see, None where the relation is new.
        after: Rows of the new version.
        only_before: Rows that the new version does not have, by the columns that both have.
        only_after: Rows that it has in addition.
    """

    relation: str
    columns: tuple[str, ...]
    before: int | None
    after: int
    only_before: int
    only_after: int

    def row(self) -> tuple[object, ...]:
        """Return the difference as a row of a table for people."""
        columns = ", ".join(self.columns) or "the same"
        before = "new" if self.before is None else self.before
        return (self.relation, columns, before, self.after, self.only_before, self.only_after)


@dataclass(frozen=True)
class Findings:
    """What a check found: relations that differ, and what failed while they were built or tested."""

    differences: tuple[Difference, ...]
    failures: tuple[str, ...]


def check(settings: Settings, progress: Callable[[str], None] = lambda line: None) -> Findings:
    """Build all models whose version is not the one that readers see, and say how they differ; nothing is shown.

    Incremental models are built from nothing, so also a difference is found that a run would bring only with time.

    Raises:
        DbtError: The project does not parse.
    """
    url = settings.database_url()
    with database.connect(url, autocommit=True, application="warehouse-dbt-check") as connection:
        migrate(connection)
        with start(settings, progress=progress) as process:
            swap.take_turn(connection, progress)
            graph = Graph.from_json(process.parsed())
            plan = BuildPlan(graph, dbt_nodes.read_state(connection, graph))
            chosen = {key for key in graph.nodes if key in plan.state.built and plan.is_new(key)}
            chosen = {key for key in plan.with_needed(chosen) if graph.nodes[key].materialized != EPHEMERAL}
            if not chosen:
                return Findings((), ())
            schemas = {graph.nodes[key].schema for key in chosen}
            swap.prepare(connection, schemas)
            try:
                aside = {key: graph.nodes[key].schema + swap.ASIDE for key in chosen}
                process.build([*chosen, *plan.tests(chosen, unit=True)], aside)
                nodes = read_nodes(process.target)
                built = {node.node for node in nodes if node.status == "success"}
                found = [
                    _compare(connection, graph.nodes[key].relation) for key in graph.nodes if key in chosen & built
                ]
            finally:
                for schema in sorted(schemas):
                    swap.clean(connection, schema)
    failures = tuple(f"{node.name}: {(node.message or node.status).splitlines()[0]}" for node in nodes if node.failed)
    return Findings(tuple(one for one in found if one is not None), failures)


def _compare(connection: psycopg.Connection[Any], relation: tuple[str, str]) -> Difference | None:
    """Return how a relation aside differs from the one that readers see, None where it does not."""
    schema, name = relation
    before, after = _columns(connection, schema, name), _columns(connection, schema + swap.ASIDE, name)
    live, aside = sql.Identifier(schema, name), sql.Identifier(schema + swap.ASIDE, name)
    count = _count(connection, sql.SQL("select count(*) from {}").format(aside))
    if not before:
        return Difference(".".join(relation), ("new",), None, count, 0, count)
    changes = [f"+{column}" for column in after if column not in before]
    changes += [f"-{column}" for column in before if column not in after]
    changes += [
        f"{column} {before[column]} to {after[column]}"
        for column in after
        if before.get(column, after[column]) != after[column]
    ]
    shared = [sql.SQL("{}::text").format(sql.Identifier(column)) for column in after if column in before]
    rows = sql.SQL("select {} from {}")
    of_live, of_aside = (rows.format(sql.SQL(", ").join(shared), table) for table in (live, aside))
    difference = sql.SQL("select count(*) from ({} except all {}) as rows")
    only_before = _count(connection, difference.format(of_live, of_aside))
    only_after = _count(connection, difference.format(of_aside, of_live))
    if not (changes or only_before or only_after):
        return None
    seen = _count(connection, sql.SQL("select count(*) from {}").format(live))
    return Difference(".".join(relation), tuple(changes), seen, count, only_before, only_after)


def _columns(connection: psycopg.Connection[Any], schema: str, name: str) -> dict[str, str]:
    rows = connection.execute(
        "select a.attname, format_type(a.atttypid, a.atttypmod) from pg_attribute a "
        "join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace "
        "where n.nspname = %s and c.relname = %s and a.attnum > 0 and not a.attisdropped order by a.attnum",
        [schema, name],
    ).fetchall()
    return dict(rows)


def _count(connection: psycopg.Connection[Any], query: sql.Composed) -> int:
    [[count]] = connection.execute(query).fetchall()
    return int(count)
