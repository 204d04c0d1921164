"""Which part may import which: the parts that others rest on know nothing of those above them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PARTS = {
    "tasks": {"tasks"},
    "monitoring": {"monitoring", "tasks"},
    "infra": {"infra", "tasks"},
    "flows": {"flows", "infra", "monitoring", "tasks"},
}
"""By part the parts that it may import."""


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and the module of each import of a file, those within functions included."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.lineno, node.module


def wrong(folder: Path, allowed: set[str]) -> list[str]:
    """Return the imports of a folder's files that are not allowed, as `file:line module`."""
    return [
        f"{path}:{line} {module}"
        for path in sorted(folder.rglob("*.py"))
        for line, module in imported(path)
        if (part := module.partition(".")[0]) in PARTS and part not in allowed
    ]


@pytest.mark.parametrize("part", PARTS)
def test_a_part_imports_only_those_that_it_rests_on(part: str) -> None:
    assert wrong(ROOT / part, PARTS[part]) == []


def test_an_import_within_a_function_is_found(tmp_path: Path) -> None:
    (tmp_path / "odd.py").write_text("def f():\n    from flows.cli import main\n")
    assert wrong(tmp_path, PARTS["tasks"]) == [f"{tmp_path / 'odd.py'}:2 flows.cli"]


def test_control_tables_import_only_pure_parts_of_bronze_and_dbt() -> None:
    pure = {"tasks.bronze", "tasks.bronze.plan", "tasks.bronze.names", "tasks.dbt.graph"}
    found = {module for path in (ROOT / "tasks/ops").glob("*.py") for _, module in imported(path)}
    assert {module for module in found if module.startswith("tasks.") and not module.startswith("tasks.ops")} <= pure


def test_the_process_in_which_dbt_runs_imports_nothing_that_it_does_not_need() -> None:
    found = {module for path in (ROOT / "tasks/dbt_worker").glob("*.py") for _, module in imported(path)}
    assert {module for module in found if module.partition(".")[0] in PARTS} == {
        "tasks.imports", "tasks.dbt_worker", "tasks.dbt_worker.worker", "tasks.dbt_worker.combined",
    }  # fmt: skip
