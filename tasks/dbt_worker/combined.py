"""Data tests that read the same relations, asked by one query; those that complain run by themselves besides.

dbt takes some fifty milliseconds of processor time for each test, however small: two contexts for templates, a
connection, a table of failures and two queries. Nearly all tests pass, and then nothing of this is needed. So the first
test of some relations asks for all of them. Whatever is not seen to pass runs as dbt runs it: its name, status, message
and the table of its failing rows are dbt's own.

This hooks into how dbt-core 1.11 chooses who runs a node (`BuildTask.RUNNER_MAP`), for which it has no published way.
Look at it again when the pin of dbt-core is lifted.
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from dbt.artifacts.resources.types import NodeType
from dbt.artifacts.schemas.run import RunResult
from dbt.contracts.graph.manifest import Manifest
from dbt.task.build import BuildTask
from dbt.task.test import TestResultData, TestRunner
from dbt_common.exceptions import DbtBaseException

# A project that says for itself how tests run keeps its way.
_HOW_TESTS_RUN = re.compile(r"materialization_test_.*|(\w+__)?get_(test_sql|limit_sql|limit_subquery_sql)")
_OF_DBT = ("dbt", "dbt_postgres")
# dbt's own not_null of a relation. Many of them take one reading of it.
_NOT_NULL = re.compile(r'\s*select\s+\S+\s+from\s+("[^"]+"(?:\."[^"]+")*)\s+where\s+(\S+)\s+is\s+null\s*')
_COUNT = "count(*)"


@contextlib.contextmanager
def combined(manifest: Manifest, keys: Iterable[str]) -> Iterator[None]:
    """Let `dbt build` ask the data tests among some nodes together, while the block runs."""
    groups: dict[frozenset[str], _Group] = {}
    own_way = any(
        _HOW_TESTS_RUN.fullmatch(macro.name) and macro.package_name not in _OF_DBT for macro in manifest.macros.values()
    )
    for key in () if own_way else keys:
        node: Any = manifest.nodes.get(key)
        if node is not None and node.resource_type == NodeType.Test and _is_plain(node):
            # Tests of the same nodes have the same moment from which they can run.
            groups.setdefault(frozenset(node.depends_on.nodes), _Group()).tests[key] = node
    by_test = {key: group for group in groups.values() for key in group.tests}

    def runner(config: Any, adapter: Any, node: Any, index: int, total: int) -> TestRunner:
        made = _Runner(config, adapter, node, index, total)
        made.group = by_test.get(node.unique_id, made.group)
        return made

    usual = BuildTask.RUNNER_MAP
    BuildTask.RUNNER_MAP = {**usual, NodeType.Test: runner}  # type: ignore[dict-item]
    try:
        yield
    finally:
        BuildTask.RUNNER_MAP = usual


def _is_plain(test: Any) -> bool:
    """Return whether all that a test does is to count rows of its query."""
    config = test.config
    return not config.get("sql_header") and config.get("store_failures_as") != "view"


class _Group:
    """Tests that read the same nodes."""

    def __init__(self) -> None:
        self.tests: dict[str, Any] = {}
        self._compiled: dict[str, Any] | None = None
        self._passed: Mapping[str, TestResultData] | None = None
        self._lock = threading.Lock()

    def compiled(self, runner: TestRunner, manifest: Manifest) -> Mapping[str, Any]:
        """Return by unique id the tests with their SQL, without those that dbt cannot make it for."""
        with self._lock:
            if self._compiled is None:
                self._compiled = {}
                for key, test in self.tests.items():
                    # dbt says why where the test runs by itself.
                    with contextlib.suppress(DbtBaseException):
                        self._compiled[key] = runner.compiler.compile_node(test, manifest, {})
            return self._compiled

    def passed(self, runner: TestRunner, manifest: Manifest) -> Mapping[str, TestResultData]:
        """Return the results of the tests that pass, by unique id."""
        compiled = self.compiled(runner, manifest)
        with self._lock:
            if self._passed is None:
                self._passed = {}
                # One of them does not fit the relations: each tells by itself.
                with contextlib.suppress(DbtBaseException):
                    self._passed = _ask(runner.adapter, compiled) if compiled else {}
            return self._passed


class _Runner(TestRunner):
    """Runs a test that is not seen to pass together with others."""

    group = _Group()

    def compile(self, manifest: Manifest) -> Any:
        """Return the test with its SQL."""
        return self.group.compiled(self, manifest).get(self.node.unique_id) or super().compile(manifest)

    def execute(self, test: Any, manifest: Manifest) -> RunResult:
        """Return what came of the test."""
        passed = self.group.passed(self, manifest).get(test.unique_id)
        return self.build_test_run_result(test, passed) if passed else super().execute(test, manifest)


def _ask(adapter: Any, tests: Mapping[str, Any]) -> dict[str, TestResultData]:
    """Return the results of those tests that pass; the tables of rows that they failed for earlier are dropped."""
    _, cursor = adapter.add_query(query(tests), auto_begin=True)
    response = adapter.connections.get_response(cursor).to_dict(omit_none=True)
    keys = list(tests)
    passed = {
        keys[number]: TestResultData(0, should_warn, should_error, response)
        for number, should_warn, should_error in cursor.fetchall()
        if should_warn is False and should_error is False
    }
    for key in passed:
        test = tests[key]
        earlier = test.is_relational and adapter.get_relation(test.database, test.schema, test.alias)
        if earlier:
            adapter.drop_relation(earlier)
    adapter.commit_if_has_connection()
    return passed


def query(tests: Mapping[str, Any]) -> str:
    """Return one query for compiled tests, whose rows are: number of the test, should_warn, should_error."""
    asked: list[str] = []
    nulls: dict[str, list[tuple[int, str, Any]]] = {}
    for number, test in enumerate(tests.values()):
        config = test.config
        found = _NOT_NULL.fullmatch(test.compiled_code)
        if found and config.fail_calc == _COUNT and config.limit is None:
            nulls.setdefault(found[1], []).append((number, found[2], config))
        else:
            asked.append(_alone(number, test.compiled_code, config))
    asked += [_nulls(relation, columns) for relation, columns in nulls.items()]
    return "\nunion all\n".join(asked)


def _alone(number: int, code: str, config: Any) -> str:
    limit = f"limit {config.limit}" if config.limit is not None else ""
    return f"select {number}, {_verdicts(config.fail_calc, config)}\nfrom (\n{code}\n{limit}\n) as dbt_internal_test"


def _nulls(relation: str, columns: Collection[tuple[int, str, Any]]) -> str:
    """Return a query that reads a relation once to count the nulls of some columns."""
    counts = ", ".join(f"count(*) filter (where {column} is null) as failures_{n}" for n, column, _ in columns)
    rows = ", ".join(f"({n}, {_verdicts(f'failures_{n}', config)})" for n, _, config in columns)
    return (
        f"select tests.* from (select {counts} from {relation}) as counts,\n"  # noqa: S608 - dbt's SQL
        f"lateral (values {rows}) as tests"
    )


def _verdicts(failures: str, config: Any) -> str:
    return f"{failures} {config.warn_if}, {failures} {config.error_if}"
