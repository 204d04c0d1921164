"""What monitoring knows of the dbt project, kept in the warehouse, as who monitors has no project at hand.

Which tables each node is made of and what is promised of it; and what the project says of its sources' freshness.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monitoring import source_freshness
from monitoring.source_freshness import Rule

if TYPE_CHECKING:
    import psycopg

_BUILT = ("model", "snapshot", "seed")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True, slots=True)
class Node:
    """One model, snapshot or seed.

    Attributes:
        node: dbt's unique id.
        name: Its short name, by which the logging table knows it.
        relation: `schema.name` of what it builds.
        layer: Schema, such as gold.
        owner: Who acts when it fails: `meta.owner`, else the owner of its dbt group, else None.
        sla_seconds: How old its data may be at most (`meta.sla: 26h`); None means the default.
        parents: Ids of the nodes that it reads directly.
        sources: Bronze relations that it is made of, through all nodes between.
        problem: What is wrong with its configuration, which is taken for absent; None: nothing.
    """

    node: str
    name: str
    relation: str
    layer: str
    owner: str | None
    sla_seconds: int | None
    parents: tuple[str, ...]
    sources: tuple[str, ...]
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Project:
    """A dbt project: its nodes, and the rules of those of its sources that have one for their freshness."""

    nodes: tuple[Node, ...]
    rules: tuple[Rule, ...]


def read(manifest: Path) -> Project | None:
    """Return what a dbt manifest says; None when there is no such file, as nothing was built."""
    try:
        told = json.loads(manifest.read_bytes())
    except FileNotFoundError:
        return None
    rules = (source_freshness.rule_of(source) for source in told["sources"].values())
    return Project(tuple(nodes_of(told)), tuple(rule for rule in rules if rule is not None))


def nodes_of(manifest: Mapping[str, Any]) -> list[Node]:
    """Return the nodes that build something, in the manifest's order."""
    parents: Mapping[str, list[str]] = manifest["parent_map"]
    groups = {group["name"]: group.get("owner") or {} for group in manifest.get("groups", {}).values()}
    relations = {key: str(source["identifier"]) for key, source in manifest["sources"].items()}
    found = []
    for key, node in manifest["nodes"].items():
        if node["resource_type"] not in _BUILT:
            continue
        config = node.get("config") or {}
        meta = config.get("meta") or {}
        owner = meta.get("owner") or groups.get(config.get("group") or "", {}).get("name")
        above = _all_above(key, parents)
        sla, problem = _sla(meta)
        found.append(
            Node(
                key,
                node["name"],
                f"{node['schema']}.{node.get('alias') or node['name']}",
                node["schema"],
                str(owner) if owner else None,
                sla,
                tuple(parent for parent in parents.get(key, ()) if parent in manifest["nodes"]),
                tuple(sorted(relations[one] for one in above if one in relations)),
                problem,
            )
        )
    return found


def _sla(meta: Mapping[str, Any]) -> tuple[int | None, str | None]:
    """Return the promise of a model in seconds, and what is wrong with it: one mistake must not stop all models."""
    try:
        return (seconds_of(meta["sla"]) if "sla" in meta else None), None
    except ValueError as error:
        return None, f"meta.sla of its dbt model: {error}; until it is corrected, the usual promise holds"


def _all_above(key: str, parents: Mapping[str, Iterable[str]]) -> set[str]:
    found: set[str] = set()
    waiting = [key]
    while waiting:
        new = set(parents.get(waiting.pop(), ())) - found
        found |= new
        waiting += new
    return found


def seconds_of(text: object) -> int:
    """Return the seconds of a span such as `90m`, `26h` or `2d`.

    Raises:
        ValueError: It is no such text.
    """
    value = str(text).strip()
    if value[:-1].isdigit() and value[-1:] in _UNITS:
        return int(value[:-1]) * _UNITS[value[-1]]
    raise ValueError(f"{value!r} is no span of time such as 90m, 26h or 2d")


def save(connection: psycopg.Connection[Any], project: Project) -> None:
    """Replace what the warehouse knows of the project by what it is."""
    from tasks.ops.relations import every

    with connection.transaction(), connection.cursor() as cursor:
        tables = {one.name: str(one.key) for one in every(cursor)}
        cursor.execute("delete from monitoring.lineage")
        cursor.executemany(
            "insert into monitoring.lineage (node, relation, layer, owner, sla_seconds, parents, sources, problem) "
            "values (%s, %s, %s, %s, %s, %s, %s, %s)",
            [
                (
                    node.node,
                    node.relation,
                    node.layer,
                    node.owner,
                    node.sla_seconds,
                    list(node.parents),
                    # A table's arrays are tables of their own in bronze; what is promised is the table.
                    sorted({tables.get(name, name.replace("__", ".", 1)) for name in node.sources}),
                    node.problem,
                )
                for node in project.nodes
            ],
        )
        source_freshness.save(cursor, project.rules)


def owners(connection: psycopg.Connection[Any]) -> dict[str, str]:
    """Return who acts for a model, by its relation, where the dbt project names somebody."""
    return dict(connection.execute("select relation, owner from monitoring.lineage where owner is not null").fetchall())


def problems(connection: psycopg.Connection[Any]) -> list[tuple[str, str]]:
    """Return the relations whose configuration in dbt is wrong, each with what is."""
    return connection.execute(
        "select relation, problem from monitoring.lineage where problem is not null order by relation"
    ).fetchall()


def made_of(connection: psycopg.Connection[Any], table: str) -> list[str]:
    """Return the relations of the models that are made of `source.table`, by name, as of the last dbt run."""
    rows = connection.execute(
        "select relation from monitoring.lineage where %s = any(sources) order by relation", [table]
    ).fetchall()
    return [relation for (relation,) in rows]
