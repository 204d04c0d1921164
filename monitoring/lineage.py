"""Which tables each dbt node is made of, kept in the warehouse: who monitors has no dbt project at hand."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    """

    node: str
    name: str
    relation: str
    layer: str
    owner: str | None
    sla_seconds: int | None
    parents: tuple[str, ...]
    sources: tuple[str, ...]


def read(manifest: Path) -> list[Node]:
    """Return the nodes of a dbt manifest; none when there is no such file."""
    try:
        return nodes_of(json.loads(manifest.read_bytes()))
    except FileNotFoundError:
        return []


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
        found.append(
            Node(
                key,
                node["name"],
                f"{node['schema']}.{node.get('alias') or node['name']}",
                node["schema"],
                str(owner) if owner else None,
                seconds_of(meta["sla"]) if "sla" in meta else None,
                tuple(parent for parent in parents.get(key, ()) if parent in manifest["nodes"]),
                tuple(sorted(relations[one] for one in above if one in relations)),
            )
        )
    return found


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


def save(connection: psycopg.Connection[Any], nodes: Iterable[Node]) -> None:
    """Replace the lineage in the warehouse by that of the project as it is now; nothing is done for no nodes."""
    found = list(nodes)
    if not found:
        return
    with connection.transaction(), connection.cursor() as cursor:
        tables = {
            relation: f"{source}.{table}"
            for source, table, relation in cursor.execute("select source, table_name, relation from ops.tables")
        }
        cursor.execute("delete from monitoring.lineage")
        cursor.executemany(
            "insert into monitoring.lineage (node, relation, layer, owner, sla_seconds, parents, sources) "
            "values (%s, %s, %s, %s, %s, %s, %s)",
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
                )
                for node in found
            ],
        )


def made_of(connection: psycopg.Connection[Any], table: str) -> list[str]:
    """Return the relations of the models that are made of `source.table`, by name, as of the last dbt run."""
    rows = connection.execute(
        "select relation from monitoring.lineage where %s = any(sources) order by relation", [table]
    ).fetchall()
    return [relation for (relation,) in rows]
