"""What a dbt run did, as typed rows read from dbt's own artifacts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from tasks.errors import DbtError, redact

FAILED = frozenset({"error", "fail", "runtime error", "partial success"})
BUILDS = ("model", "snapshot", "seed")
TESTS = ("test", "unit_test")
_TOLD = 5
# "Database Error in model fct_order (models/gold/fct_order.sql)"
_HEADING = re.compile(r"\w+ Error in ")


@dataclass(frozen=True, slots=True)
class NodeResult:
    """What happened to one model, test or other node.

    Attributes:
        node: dbt's unique id.
        name: Short name.
        resource_type: model, test, snapshot, seed, unit_test.
        relation: Schema and name of what a model built, else "".
        status: dbt's word: success, pass, warn, error, fail, skipped.
        seconds: Execution time.
        rows_affected: Rows written, where the adapter tells.
        failures: Failing rows of a test.
        message: dbt's message, the reason first, without credentials.
        started_at: When execution began, None for skipped nodes.
        owner: Who answers for the node, by its `meta.owner` or that of the model it tests; "" where nobody is named.
        failing: Ids of up to five failing rows of a test, as text.
        published: For what a model built, whether readers see it.
    """

    node: str
    name: str
    resource_type: str
    relation: str
    status: str
    seconds: float
    rows_affected: int | None
    failures: int | None
    message: str
    started_at: datetime | None
    owner: str = ""
    failing: tuple[str, ...] = ()
    published: bool = True

    @property
    def failed(self) -> bool:
        """Whether the node ended in an error or a failing test."""
        return self.status in FAILED

    @property
    def error_class(self) -> str:
        """Key of the kind of failure in monitoring.taxonomy: failing rows are data, everything else is the model."""
        if not self.failed:
            return ""
        return "data_quality" if self.resource_type == "test" and self.failures else "model"


@dataclass(frozen=True, slots=True)
class DbtResult:
    """What one dbt command did.

    Attributes:
        nodes: One per executed or skipped node, in the order they ended.
        seconds: Wall time of the whole run.
        exit_code: dbt's exit code: 0 all good, 1 a node failed.
        target: Folder with dbt's own artifacts of this run.
        held_back: Relations that were built but not shown to readers, because something in their group failed.
    """

    nodes: tuple[NodeResult, ...]
    seconds: float
    exit_code: int
    target: Path
    held_back: tuple[str, ...] = ()

    @property
    def failed(self) -> tuple[NodeResult, ...]:
        """The nodes that failed."""
        return tuple(node for node in self.nodes if node.failed)

    @property
    def success(self) -> bool:
        """Whether everything was built and every test passed (warnings are fine)."""
        return self.exit_code == 0

    def counts(self) -> dict[str, int]:
        """Return the number of nodes per status."""
        return {status: sum(node.status == status for node in self.nodes) for status in {n.status for n in self.nodes}}

    def failure(self) -> str:
        """Return which nodes failed and why."""
        told = [f"{node.name}: {_reason(node)}" for node in self.failed[:_TOLD]]
        more = f" and {len(self.failed) - _TOLD} more" if len(self.failed) > _TOLD else ""
        return f"{len(self.failed)} dbt node(s) failed: {'; '.join(told)}{more}"

    def check(self) -> None:
        """Do nothing after a success.

        Raises:
            DbtError: Naming each failed node with its message.
        """
        if self.success:
            return
        raise DbtError(
            self.failure(),
            str(self.target / "run_results.json"),
            "correct the model or the data, then run again; tables that failed keep their last good content",
        )


def _reason(node: NodeResult) -> str:
    first = (node.message or node.status).splitlines()[0]
    return f"{first} ({', '.join(node.failing)})" if node.failing else first


def read_nodes(target: Path) -> tuple[NodeResult, ...]:
    """Return the nodes of the run whose artifacts are in a folder; none when it ended before the first."""
    try:
        results = json.loads((target / "run_results.json").read_bytes())["results"]
        manifest = json.loads((target / "manifest.json").read_bytes())
    except FileNotFoundError:
        return ()
    known = {**manifest["nodes"], **manifest["sources"], **manifest.get("unit_tests", {})}
    groups = {group["name"]: group.get("owner") or {} for group in manifest.get("groups", {}).values()}
    return tuple(_node(result, known, groups) for result in results)


def with_failing(nodes: Sequence[NodeResult], rows: Mapping[str, Sequence[str]]) -> tuple[NodeResult, ...]:
    """Return the nodes with the ids of their failing rows, by unique id."""
    return tuple(replace(node, failing=tuple(rows.get(node.node, ()))) for node in nodes)


def _node(
    result: Mapping[str, Any], known: Mapping[str, Mapping[str, Any]], groups: Mapping[str, Mapping[str, Any]]
) -> NodeResult:
    unique_id = result["unique_id"]
    node = known.get(unique_id, {})
    began = [timing["started_at"] for timing in result["timing"] if timing["name"] == "execute"]
    builds = node.get("resource_type") in BUILDS
    rows = result["adapter_response"].get("rows_affected")
    owners = [owner for one in (node, *_tested(node, known)) if (owner := owner_of(one, groups))]
    return NodeResult(
        node=unique_id,
        name=node.get("name", unique_id.split(".")[2] if unique_id.count(".") > 1 else unique_id),
        resource_type=unique_id.split(".")[0],
        relation=f"{node['schema']}.{node['alias']}" if builds else "",
        status=str(result["status"]),
        seconds=round(result["execution_time"], 3),
        # Postgres answers -1 for statements that touch no rows, such as creating a view.
        rows_affected=rows if builds and rows is not None and rows >= 0 else None,
        failures=result["failures"],
        message=_reason_first(redact(result["message"] or "")),
        started_at=datetime.fromisoformat(began[0]) if began and began[0] else None,
        owner=owners[0] if owners else "",
    )


def _tested(node: Mapping[str, Any], known: Mapping[str, Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    if node.get("resource_type") in TESTS:
        names = [node.get("attached_node"), *node.get("depends_on", {}).get("nodes", ())]
        yield from (known[name] for name in names if name in known)


def owner_of(node: Mapping[str, Any], groups: Mapping[str, Mapping[str, Any]]) -> str:
    """Return who answers for a node of a manifest: its `meta.owner`, else the owner of its group, else ""."""
    config = node.get("config") or {}
    owner = (config.get("meta") or {}).get("owner") or (node.get("meta") or {}).get("owner")
    owner = owner or groups.get(config.get("group") or node.get("group") or "")
    if isinstance(owner, Mapping):
        owner = owner.get("email") or owner.get("name")
    return str(owner or "")


def _reason_first(message: str) -> str:
    """Return dbt's message with its heading, which only repeats the file's name, as the last line: reports show one."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    if len(lines) > 1 and _HEADING.match(lines[0]):
        lines = [*lines[1:], lines[0]]
    return "\n".join(lines)
