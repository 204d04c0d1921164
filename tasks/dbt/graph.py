"""What a dbt project consists of, and what of it has to be built: pure functions over dbt's own parent maps."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

SNAPSHOT, INCREMENTAL, EPHEMERAL, VIEW = "snapshot", "incremental", "ephemeral", "view"
BY_KEY = "incremental_by_key"


@dataclass(frozen=True, slots=True)
class Node:
    """A model, seed or snapshot.

    Attributes:
        schema: Schema that readers find it in.
        name: Name of its relation there.
        materialized: dbt's word: table, view, incremental, ephemeral, seed, snapshot; or our incremental_by_key.
        package: Name of the package that it comes from.
        fingerprint: Changes with its SQL, its configuration, its macros and vars, and with those of all it reads.
        parents: Unique ids of what it reads: nodes and sources.
        keeps: Whether its configuration forbids a full refresh.
    """

    schema: str
    name: str
    materialized: str
    package: str
    fingerprint: str
    parents: tuple[str, ...]
    keeps: bool = False

    @property
    def relation(self) -> tuple[str, str]:
        """Schema and name."""
        return self.schema, self.name

    @property
    def shows_parents(self) -> bool:
        """Whether reading it is reading what it is made of."""
        return self.materialized in (VIEW, EPHEMERAL)


@dataclass(frozen=True, slots=True)
class NodeTest:
    """A data test or a unit test.

    Attributes:
        parents: Unique ids of what it reads.
        unit: Whether it tests a model's logic on given rows, and so depends on no data.
        fingerprint: Changes with what it asks and with its configuration.
    """

    parents: tuple[str, ...]
    unit: bool = False
    fingerprint: str = ""


@dataclass(frozen=True, slots=True)
class Graph:
    """A parsed project.

    Attributes:
        root: Name of the project itself, as opposed to the packages that it installs.
        nodes: By unique id, parents before children.
        tests: By unique id.
        sources: Name (`source.table`) of each source table by unique id.
    """

    root: str
    nodes: Mapping[str, Node]
    tests: Mapping[str, NodeTest]
    sources: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """Return the graph as JSON has it."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Graph:
        """Return the graph that `to_json` gave."""
        nodes = {key: Node(**{**node, "parents": tuple(node["parents"])}) for key, node in data["nodes"].items()}
        tests = {
            key: NodeTest(tuple(test["parents"]), test["unit"], test["fingerprint"])
            for key, test in data["tests"].items()
        }
        return cls(data["root"], nodes, tests, data["sources"])

    def above(self) -> dict[str, frozenset[str]]:
        """Return by node the names of all source tables that it is made of."""
        found: dict[str, frozenset[str]] = {key: frozenset([name]) for key, name in self.sources.items()}
        for key, node in self.nodes.items():
            found[key] = frozenset().union(*(found.get(parent, frozenset()) for parent in node.parents))
        return {key: found[key] for key in self.nodes}

    def tested(self) -> dict[str, str]:
        """Return by node a fingerprint of its tests; one of several nodes is a test of the last of them."""
        told: dict[str, list[str]] = {key: [] for key in self.nodes}
        order = {key: number for number, key in enumerate(self.nodes)}
        for key, test in sorted(self.tests.items()):
            parents = [one for one in test.parents if one in order and self.nodes[one].materialized != EPHEMERAL]
            if parents:
                told[max(parents, key=order.__getitem__)] += [key, test.fingerprint]
        return {key: hashlib.sha256(repr(tests).encode()).hexdigest()[:32] for key, tests in told.items()}

    def ids_of(self, names: Iterable[str]) -> set[str]:
        """Return the nodes that are made of one of some source tables."""
        wanted = frozenset(names)
        return {key for key, sources in self.above().items() if sources & wanted}


@dataclass(frozen=True, slots=True)
class Built:
    """What is known of a node's last good content.

    Attributes:
        fingerprint: That of the node when it was built.
        holds_until: It holds everything that was loaded before this moment.
        tested: Fingerprint of the tests that it has passed.
    """

    fingerprint: str
    holds_until: datetime
    tested: str


@dataclass(frozen=True)
class State:
    """What the warehouse holds.

    Attributes:
        built: By unique id, what was built and shown to readers.
        changed: By name of a source table, when it last changed.
        present: Relations that exist.
        replaced: By name of a source table, when a reset last took all of its rows away.
    """

    built: Mapping[str, Built]
    changed: Mapping[str, datetime]
    present: Collection[tuple[str, str]]
    replaced: Mapping[str, datetime] = field(default_factory=dict)


class BuildPlan:
    """What of a project has to be built, given the state of the warehouse."""

    def __init__(self, graph: Graph, state: State) -> None:
        self.graph, self.state = graph, state
        self._above, self._tested = graph.above(), graph.tested()

    def is_new(self, key: str) -> bool:
        """Return whether a node has never been built as it is now, is gone, or is made of rows that were replaced."""
        node, built = self.graph.nodes[key], self.state.built.get(key)
        if node.materialized == EPHEMERAL:
            return False
        if built is None or built.fingerprint != node.fingerprint or node.relation not in self.state.present:
            return True
        replaced = (self.state.replaced.get(name) for name in self._above[key])
        return any(at is not None and at >= built.holds_until for at in replaced)

    def is_stale(self, key: str) -> bool:
        """Return whether a node lacks something: it or its tests are new, or what it is made of has changed since."""
        return self.is_new(key) or self._lacks(key) or self._has_new_tests(key)

    def _has_new_tests(self, key: str) -> bool:
        built = self.state.built.get(key)
        return built is not None and built.tested != self._tested[key]

    def _lacks(self, key: str) -> bool:
        built = self.state.built.get(key)
        changes = (self.state.changed.get(name) for name in self._above[key])
        return any(at is not None and (built is None or at >= built.holds_until) for at in changes)

    def stale(self, names: Collection[str], whole: bool) -> set[str]:
        """Return what lacks changes of some loaded tables, or is new, with all that has to be built for it.

        Args:
            names: Source tables, `source.table`; only models that are made of one of them are looked at.
            whole: Whether that is every table: then models without any source count too, those of installed packages
                where some model is made of a loaded table.
        """
        loaded = frozenset(names) & self.state.changed.keys()
        scope = {key for key, sources in self._above.items() if sources & loaded}
        if whole:
            nodes = self.graph.nodes
            fed = bool(scope)
            scope |= {
                key
                for key, sources in self._above.items()
                if not sources and (fed or nodes[key].package == self.graph.root)
            }
        wanted = {key for key in scope if self.is_stale(key) and self.graph.nodes[key].materialized != EPHEMERAL}
        return self.with_needed(wanted)

    def with_needed(self, wanted: Iterable[str]) -> set[str]:
        """Return nodes, and those above them that have to be built with them.

        That is what does not exist yet or is of another version, and views that show unbuilt changes: their tests say
        whether these may go further. A table that lacks changes is read as it is: that is its last good content.
        """
        chosen = set(wanted)
        ahead = list(chosen)
        while ahead:
            for parent in self.graph.nodes[ahead.pop()].parents:
                node = self.graph.nodes.get(parent)
                if node is None or parent in chosen:
                    continue
                if self.is_new(parent) or (node.shows_parents and self._lacks(parent)):
                    chosen.add(parent)
                    ahead.append(parent)
        return chosen

    def tests(self, chosen: Collection[str], *, unit: bool = False) -> set[str]:
        """Return the tests of chosen nodes, without those that read a node which is neither chosen nor there.

        Args:
            chosen: Nodes that are built.
            unit: Take all unit tests, not only those of models that are new or have new tests.
        """
        found = set()
        for key, test in self.graph.tests.items():
            if test.unit:
                if any(
                    parent in chosen and (unit or self.is_new(parent) or self._has_new_tests(parent))
                    for parent in test.parents
                ):
                    found.add(key)
            elif any(parent in chosen for parent in test.parents) and all(
                parent in chosen or self._is_there(parent) for parent in test.parents
            ):
                found.add(key)
        return found

    def _is_there(self, key: str) -> bool:
        node = self.graph.nodes.get(key)
        return node is None or node.materialized == EPHEMERAL or node.relation in self.state.present

    def holds_until(self, chosen: Collection[str], began: datetime) -> dict[str, datetime]:
        """Return by chosen node up to when it holds what was loaded, if it is built from `began` on.

        A table that is not built now and lacks changes passes on no more than it holds.
        """
        until: dict[str, datetime] = {}
        for key, node in self.graph.nodes.items():
            moments = [until[parent] for parent in node.parents if parent in until]
            if key not in chosen and not node.shows_parents and self._lacks(key):
                built = self.state.built.get(key)
                moments = [built.holds_until] if built else [datetime.min.replace(tzinfo=began.tzinfo)]
            until[key] = min([began, *moments])
        return {key: until[key] for key in chosen}

    def keeps_rows(self, key: str, full_refresh: bool) -> bool:
        """Return whether a node goes on from the rows it has: snapshots always, incremental models while unchanged."""
        node = self.graph.nodes[key]
        if node.relation not in self.state.present:
            return False
        incremental = node.materialized in (INCREMENTAL, BY_KEY)
        if node.materialized == SNAPSHOT or (incremental and node.keeps):
            return True
        return incremental and not full_refresh and not self.is_new(key)


def groups(graph: Graph, chosen: Collection[str], tests: Collection[str]) -> list[frozenset[str]]:
    """Return the chosen nodes in groups that share no reference and no test: each is shown as a whole or not at all."""
    leader = {key: key for key in chosen}

    def find(key: str) -> str:
        while leader[key] != key:
            leader[key] = leader[leader[key]]
            key = leader[key]
        return key

    links = [(key, *graph.nodes[key].parents) for key in chosen]
    links += [graph.tests[key].parents for key in tests]
    for link in links:
        members = [find(key) for key in link if key in leader]
        for member in members:
            leader[member] = members[0]
    found: dict[str, set[str]] = {}
    for key in chosen:
        found.setdefault(find(key), set()).add(key)
    return [frozenset(members) for members in found.values()]


def held_back(graph: Graph, chosen: Collection[str], tests: Collection[str], failed: Collection[str]) -> set[str]:
    """Return the chosen nodes that must not be shown: those of a group in which a node or a test failed.

    A test without a chosen model holds back all.
    """
    bad: set[str] = set(failed) & set(chosen)
    for key in failed:
        if key in graph.tests:
            parents = set(graph.tests[key].parents)
            bad |= (
                (parents & set(chosen))
                or {node for node in chosen if parents & set(graph.nodes[node].parents)}
                or set(chosen)
            )
    return {key for group in groups(graph, chosen, tests) if group & bad for key in group}
