"""Silver and gold: decides what has to be built, builds and tests it aside with dbt, and shows what is good to readers.

| module | what it does |
|---|---|
| `project` | the project in use, its checksum, how dbt is to be called |
| `graph` | what a project consists of, what of it has to be built, what must not be shown (pure) |
| `process` | the process in which dbt runs (`tasks.dbt_worker`), from outside |
| `swap` | schemas aside, and the swap in one transaction |
| `results` | what happened to each node |
| `company`, `staging`, `descriptions` | a company's own project, its staging models, their columns that follow drift |
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tasks import database
from tasks.dbt import swap
from tasks.dbt.graph import BY_KEY, EPHEMERAL, BuildPlan, Graph, held_back
from tasks.dbt.process import DbtProcess, fresh_target
from tasks.dbt.project import SHIPPED, Project, environment, selection, source_names
from tasks.dbt.results import DbtResult, NodeResult, read_nodes, with_failing
from tasks.ops import dbt_nodes, dbt_projects
from tasks.ops.migrations import migrate
from tasks.settings import Settings
from tasks.sources import TableRef

if TYPE_CHECKING:
    import psycopg

__all__ = [
    "SHIPPED",
    "DbtProcess",
    "DbtResult",
    "NodeResult",
    "Project",
    "Wanted",
    "environment",
    "feeding",
    "is_needed",
    "run",
    "selection",
    "start",
]


@dataclass(frozen=True)
class Wanted:
    """What somebody wants built.

    Attributes:
        tables: Everything above these tables; None means every table.
        changed: Only what lacks changes of them, or was never built as it is now.
        select: dbt selectors instead.
        exclude: dbt selectors to leave out.
    """

    tables: tuple[TableRef, ...] | None = None
    changed: bool = False
    select: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


def start(
    settings: Settings,
    *,
    variables: Mapping[str, Any] | None = None,
    progress: Callable[[str], None] = lambda line: None,
    deadline_seconds: float = 7_200,
) -> DbtProcess:
    """Start a dbt process, which parses the project at once; whoever starts it closes it."""
    return DbtProcess(
        Project.of(settings),
        environment(settings.database_url(), os.environ),
        fresh_target(settings.home / "dbt"),
        variables or {},
        progress,
        deadline_seconds,
    )


def is_needed(settings: Settings, refs: Sequence[TableRef], *, whole: bool) -> bool | None:
    """Return whether a run has anything to build above tables, without dbt; None when only dbt can tell.

    Args:
        settings: Where the warehouse and the project are.
        refs: The tables of the run.
        whole: Whether these are all tables.
    """
    project = Project.of(settings)
    if not project.may_read(refs):
        return False
    url = settings.database_url()
    with database.connect(url, autocommit=True) as connection:
        migrate(connection)
        graph = dbt_projects.read(connection, project.checksum(environment(url, os.environ)))
        if graph is None:
            return None
        plan = BuildPlan(graph, dbt_nodes.read_state(connection, graph))
        return bool(plan.stale(dbt_nodes.loaded_names(connection, [ref.name for ref in refs]), whole))


def feeding(settings: Settings, refs: Sequence[TableRef]) -> frozenset[str]:
    """Return those of the tables (`source.table`) that a model reads, as far as that is known without dbt."""
    graph = _known_graph(settings)
    if graph is None:
        return frozenset()
    read = frozenset[str]().union(*graph.above().values())
    return frozenset(ref.name for ref in refs if read.intersection(source_names(ref)))


def models_above(settings: Settings, ref: TableRef) -> list[str] | None:
    """Return the names of the models that are made of a table, parents first; None when only dbt can tell."""
    graph = _known_graph(settings)
    if graph is None:
        return None
    above = graph.ids_of(source_names(ref))
    return [".".join(node.relation) for key, node in graph.nodes.items() if key in above]


def _known_graph(settings: Settings) -> Graph | None:
    project = Project.of(settings)
    with database.connect(settings.database_url(), autocommit=True) as connection:
        migrate(connection)
        return dbt_projects.read(connection, project.checksum(environment(settings.database_url(), os.environ)))


def run(
    settings: Settings,
    select: Sequence[str] | None = None,
    *,
    wanted: Wanted | None = None,
    process: DbtProcess | None = None,
    exclude: Sequence[str] = (),
    full_refresh: bool = False,
    variables: Mapping[str, Any] | None = None,
    progress: Callable[[str], None] = lambda line: None,
    deadline_seconds: float = 7_200,
) -> DbtResult:
    """Build and test models aside, and show readers what is good.

    Args:
        settings: Says where the warehouse and the project are.
        select: dbt selectors, short for `Wanted(select=...)`; None means all.
        wanted: What to build.
        process: A dbt process that has been started for this run; it is left open.
        exclude: dbt selectors to leave out.
        full_refresh: Rebuild incremental models from nothing.
        variables: dbt vars.
        progress: Called with each line that dbt logs for people.
        deadline_seconds: After this time dbt is interrupted.

    Returns:
        The nodes, failed ones included; `DbtResult.check` raises for them.

    Raises:
        WarehouseUnreachable: Postgres did not answer dbt.
        DbtError: dbt itself failed (a model that does not parse, a wrong selector), ran into the deadline, or what it
            built could not be shown.
    """
    started = time.monotonic()
    wanted = wanted or Wanted(select=tuple(select or ()), exclude=tuple(exclude))
    # A server that is not there is found out before dbt takes its time to start.
    with database.connect(settings.database_url(), autocommit=True, application="warehouse-dbt-run") as connection:
        migrate(connection)
        mine = process or start(settings, variables=variables, progress=progress, deadline_seconds=deadline_seconds)
        try:
            swap.take_turn(connection, progress)
            graph = Graph.from_json(mine.parsed())
            if not mine.variables:
                dbt_projects.write(connection, mine.project.checksum(mine.env), graph)
            result = _Build(connection, mine, graph).run(wanted, full_refresh)
        finally:
            if process is None:
                mine.close()
    return replace(result, seconds=round(time.monotonic() - started, 3))


class _Build:
    """One build: plan, prepare, dbt, swap."""

    def __init__(self, connection: psycopg.Connection[Any], process: DbtProcess, graph: Graph) -> None:
        self._connection, self._process, self._graph = connection, process, graph
        self._plan = BuildPlan(graph, dbt_nodes.read_state(connection, graph))

    def run(self, wanted: Wanted, full_refresh: bool) -> DbtResult:
        """Build what is wanted."""
        target = self._process.target
        began = self._clock()
        chosen = self._chosen(wanted)
        if not chosen:
            self._process.write_manifest()
            return DbtResult((), 0.0, 0, target)
        tests = self._tests(chosen, wanted)
        relations = [self._relation(key) for key in self._graph.nodes if key in chosen and self._is_relation(key)]
        schemas = {relation.schema for relation in relations}
        kept = [key for key in sorted(chosen) if self._plan.keeps_rows(key, full_refresh)]
        by_key = {key for key in kept if self._graph.nodes[key].materialized == BY_KEY}
        swap.prepare(
            self._connection,
            schemas,
            copied=[self._relation(key) for key in kept if key not in by_key],
            viewed=[self._relation(key) for key in kept if key in by_key],
        )
        try:
            aside = {key: self._graph.nodes[key].schema + swap.ASIDE for key in chosen}
            arguments = ["--full-refresh"] if full_refresh else []
            exit_code = self._process.build([*chosen, *tests], aside, arguments)
            nodes = read_nodes(target)
            failed = {node.node for node in nodes if node.failed or (node.status == "skipped" and node.node in chosen)}
            if exit_code == 1 and not failed:
                raise self._process.ended(exit_code)
            back = held_back(self._graph, chosen, tests, failed)
            nodes = with_failing(nodes, swap.samples(self._connection, self._compiled(failed)))
            self._show(chosen - back, by_key, began)
        finally:
            for schema in sorted(schemas):
                swap.clean(self._connection, schema)
        nodes = tuple(replace(node, published=node.node not in back) for node in nodes)
        hidden = tuple(sorted(".".join(self._graph.nodes[key].relation) for key in back if self._is_relation(key)))
        return DbtResult(nodes, 0.0, exit_code, target, hidden)

    def _chosen(self, wanted: Wanted) -> set[str]:
        graph, plan = self._graph, self._plan
        if wanted.select or wanted.exclude:
            ids = self._process.select(wanted.select, wanted.exclude)
            return plan.with_needed(key for key in ids if key in graph.nodes)
        if wanted.changed:
            tables = None if wanted.tables is None else [ref.name for ref in wanted.tables]
            known = graph.sources.values() if tables is None else dbt_nodes.loaded_names(self._connection, tables)
            return plan.stale(frozenset(known), whole=tables is None)
        if wanted.tables is not None:
            names = [name for ref in wanted.tables for name in source_names(ref)]
            return plan.with_needed(graph.ids_of(names))
        return set(graph.nodes)

    def _tests(self, chosen: Collection[str], wanted: Wanted) -> set[str]:
        tests = self._plan.tests(chosen, unit=not wanted.changed)
        return tests.difference(self._process.select(wanted.exclude, ())) if wanted.exclude else tests

    def _show(self, good: Collection[str], by_key: Collection[str], began: datetime) -> None:
        """Let what was built well take its place, and note it."""
        until = self._plan.holds_until(set(good), began)
        shown = [key for key in self._graph.nodes if key in good and self._is_relation(key)]
        if shown:
            swap.swap(
                self._connection,
                [self._relation(key) for key in shown if key not in by_key],
                [self._relation(key) for key in shown if key in by_key],
                lambda: dbt_nodes.write(self._connection, self._graph, until, began),
            )

    def _compiled(self, failed: Collection[str]) -> dict[str, str]:
        """Return the compiled SQL of failed data tests."""
        results = json.loads((self._process.target / "run_results.json").read_bytes())["results"]
        return {
            result["unique_id"]: result["compiled_code"]
            for result in results
            if result["unique_id"] in failed and result["unique_id"].startswith("test.") and result["compiled_code"]
        }

    def _is_relation(self, key: str) -> bool:
        return self._graph.nodes[key].materialized != EPHEMERAL

    def _relation(self, key: str) -> swap.Relation:
        return swap.Relation(*self._graph.nodes[key].relation)

    def _clock(self) -> datetime:
        [[at]] = self._connection.execute("select clock_timestamp()").fetchall()
        return at  # type: ignore[no-any-return]
