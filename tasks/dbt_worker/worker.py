"""The process in which dbt runs, from inside: parses a project, then builds what it is told, one command a line.

Commands come by standard input, answers go to a file descriptor of their own, and what dbt says to people goes to
standard output. When the input ends, so does the process, whatever it is doing.
"""

from __future__ import annotations

import hashlib
import json
import os
import queue
import re
import signal
import sys
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dbt.adapters.factory import FACTORY
from dbt.artifacts.schemas.run import RunExecutionResult
from dbt.cli.exceptions import DbtUsageException
from dbt.cli.main import dbtRunner, dbtRunnerResult
from dbt.contracts.graph.manifest import Manifest
from dbt_common.events.base_types import EventMsg
from dbt_common.events.logger import _TextLogger
from dbt_common.exceptions import DbtBaseException

from tasks.dbt_worker import connections
from tasks.dbt_worker.combined import combined
from tasks.imports import uncollected

_BUILDS = ("model", "seed", "snapshot")
# Marks what is to be built: one selector instead of hundreds, each of which dbt would look for in all nodes.
_CHOSEN = "warehouse-chosen"
_VAR = re.compile(r"""\bvar\(\s*(?:['"](\w+)['"])?""")
# dbt would write its manifests after each command, some of them twice, which takes a second of processor time.
_NO_ARTIFACTS = "--no-write-json"
# Levels of nine of ten events.
_FINEST = ("debug", "test")
# Configuration that changes nothing of what a model holds.
_WITHOUT_EFFECT = frozenset({"tags", "meta", "group", "docs", "access", "event_time", "freshness", "enabled"})


def main(answers: int) -> None:
    """Take commands until the input ends."""
    commands: queue.Queue[dict[str, Any] | None] = queue.Queue()
    threading.Thread(target=_listen, args=(commands,), daemon=True).start()
    connections.keep()
    _TextLogger.write_line = _write_line  # type: ignore[method-assign, assignment]
    with os.fdopen(answers, "w") as out:
        worker = _Worker()
        while (command := commands.get()) is not None:
            answer = getattr(worker, command.pop("do"))(**command)
            print(json.dumps(answer), file=out, flush=True)


def _listen(commands: queue.Queue[dict[str, Any] | None]) -> None:
    for line in sys.stdin:
        commands.put(json.loads(line))
    commands.put(None)
    # Whoever started us is gone: dbt cancels its queries as after Ctrl-C.
    os.kill(os.getpid(), signal.SIGINT)


_write_any_line = _TextLogger.write_line


def _write_line(logger: _TextLogger, event: EventMsg) -> None:
    """Write an event to one of dbt's logs; dbt makes a line of it, free of secrets, before it looks at its level."""
    if event.info.level not in _FINEST or logger.level.value in _FINEST:
        _write_any_line(logger, event)


class _Worker:
    """A parsed project and what can be done with it."""

    manifest: Manifest
    arguments: list[str]

    def parse(self, arguments: list[str], deps: bool) -> dict[str, Any]:
        self.arguments = arguments
        if deps:
            done = dbtRunner().invoke(["deps", *arguments[:4], *arguments[6:]])
            if not done.success:
                return _answer(done)
        with uncollected():
            done = dbtRunner().invoke(["parse", *arguments, "--quiet", _NO_ARTIFACTS])
        if not isinstance(done.result, Manifest):
            return _answer(done)
        self.manifest = done.result
        return {"graph": _graph(self.manifest)}

    def select(self, select: list[str], exclude: list[str]) -> dict[str, Any]:
        flags = [*(("--select", *select) if select else ()), *(("--exclude", *exclude) if exclude else ())]
        keys = ["--output", "json", "--output-keys", "unique_id"]
        done = dbtRunner(self.manifest).invoke(["list", *self.arguments, *keys, *flags, "--quiet"])
        if not done.success or not isinstance(done.result, list):
            return _answer(done)
        return {"ids": [json.loads(line)["unique_id"] for line in done.result]}

    def build(self, nodes: list[str], aside: dict[str, str], arguments: list[str]) -> dict[str, Any]:
        own = {key: self.manifest.nodes[key].schema for key in aside}
        for key in nodes:
            node: Any = self.manifest.nodes.get(key) or self.manifest.unit_tests[key]
            # A unit test has only those of its configuration.
            tagged = node if key in self.manifest.nodes else node.config
            tagged.tags = [*_as_list(tagged.tags), _CHOSEN]
            if key in aside:
                node.schema = aside[key]
        # "empty": tests are chosen one by one, like everything else.
        chosen = ["--select", f"tag:{_CHOSEN}", "--indirect-selection", "empty"]
        with combined(self.manifest, nodes):
            done = dbtRunner(self.manifest).invoke(["build", *self.arguments, _NO_ARTIFACTS, *chosen, *arguments])
        # Who reads the manifest looks for relations where readers find them.
        for key, schema in own.items():
            self.manifest.nodes[key].schema = schema
        if isinstance(done.result, RunExecutionResult):
            done.result.write(str(self._target / "run_results.json"))
        self.write_manifest()
        return _answer(done)

    def write_manifest(self) -> dict[str, Any]:
        self.manifest.write(str(self._target / "manifest.json"))  # type: ignore[no-untyped-call]
        return {}

    @property
    def _target(self) -> Path:
        return Path(self.arguments[self.arguments.index("--target-path") + 1])

    def command(self, arguments: list[str]) -> dict[str, Any]:
        verb = next((index for index, word in enumerate(arguments) if word.startswith("-")), len(arguments))
        words = [*arguments[:verb], *self.arguments, *arguments[verb:]]
        return _answer(dbtRunner(self.manifest).invoke(words))


def _as_list(value: list[str] | str) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def _answer(done: dbtRunnerResult) -> dict[str, Any]:
    """Return dbt's exit code as its command line gives it: 1 when a node failed, 2 when dbt itself did."""
    if done.exception is None:
        return {"exit_code": 0 if done.success else 1}
    error = done.exception
    if not isinstance(error, DbtBaseException | DbtUsageException):
        print(f"{type(error).__name__}: {error}", flush=True)
    return {"exit_code": 2, "error": str(error)}


# -- the graph ------------------------------------------------------------------------------------------------------


def _graph(manifest: Manifest) -> dict[str, Any]:
    """Return a manifest as tasks.dbt.graph has it."""
    prints = _Fingerprints(manifest)
    nodes, tests = {}, {}
    builds = {key: node for key, node in manifest.nodes.items() if node.resource_type in _BUILDS}
    for key in _parents_first({key: _parents(node) for key, node in builds.items()}):
        node: Any = builds[key]
        nodes[key] = {
            "schema": node.schema,
            "name": node.alias,
            "materialized": node.config.materialized,
            "package": node.package_name,
            "fingerprint": prints.of(key),
            "parents": _parents(node),
            "keeps": getattr(node.config, "full_refresh", None) is False,
        }
    for key, test in manifest.nodes.items():
        if key.startswith("test."):
            tests[key] = {"parents": _parents(test), "unit": False, "fingerprint": prints.of_test(test)}
    for key, unit in manifest.unit_tests.items():
        if unit.config.enabled:
            tests[key] = {"parents": unit.depends_on.nodes[:1], "unit": True, "fingerprint": str(unit.checksum)}
    return {
        "root": manifest.metadata.project_name,
        "nodes": nodes,
        "tests": tests,
        "sources": {key: f"{source.source_name}.{source.name}" for key, source in manifest.sources.items()},
    }


def _parents(node: Any) -> list[str]:
    return [key for key in node.depends_on.nodes if key.partition(".")[0] in (*_BUILDS, "source")]


def _parents_first(parents: Mapping[str, Iterable[str]]) -> list[str]:
    from graphlib import TopologicalSorter

    return [key for key in TopologicalSorter(parents).static_order() if key in parents]


class _Fingerprints:
    """What changes with a node's SQL, configuration, macros and vars, and with those of all that it reads."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        adapter: Any = FACTORY.adapters["postgres"]
        self._config = adapter.config
        self._made: dict[str, str] = {}

    def of(self, key: str) -> str:
        """Return the fingerprint of a node whose parents have theirs already."""
        node: Any = self._manifest.nodes[key]
        told = (
            node.checksum.checksum,
            getattr(getattr(node, "contract", None), "checksum", None),
            self._text(node),
            [self._made[parent] for parent in _parents(node) if parent in self._made],
        )
        self._made[key] = _digest(told)
        return self._made[key]

    def of_test(self, test: Any) -> str:
        """Return the fingerprint of a data test: what it asks, not what it asks it of."""
        metadata = getattr(test, "test_metadata", None)
        return _digest((test.raw_code, metadata and sorted(metadata.kwargs.items()), self._text(test)))

    def _text(self, node: Any) -> tuple[Any, ...]:
        """Return configuration, macros and vars of a node."""
        macros = self._macros(node.depends_on.macros)
        config = {name: value for name, value in node.config.to_dict().items() if name not in _WITHOUT_EFFECT}
        code = [node.raw_code or "", *(text for _, text in sorted(macros.items()))]
        return json.dumps(config, sort_keys=True, default=str), sorted(macros.items()), self._vars(node, code)

    def _macros(self, keys: Iterable[str]) -> dict[str, str]:
        """Return the macros of a node, with those that they call; dbt's own only change with its version."""
        found: dict[str, str] = {}
        ahead = list(keys)
        while ahead:
            key = ahead.pop()
            macro = self._manifest.macros.get(key)
            if key not in found and macro is not None and macro.package_name not in ("dbt", "dbt_postgres"):
                found[key] = macro.macro_sql
                ahead += macro.depends_on.macros
        return found

    def _vars(self, node: Any, code: Iterable[str]) -> str:
        """Return the values of the vars that code names; of all where a name is not written out."""
        names = {name for text in code for name in _VAR.findall(text)}
        values = {**self._config.vars.vars_for(node, "postgres"), **self._config.cli_vars}
        values = {name: value for name, value in values.items() if "" in names or name in names}
        return json.dumps(values, sort_keys=True, default=str)


def _digest(told: object) -> str:
    return hashlib.sha256(repr(told).encode()).hexdigest()[:32]
