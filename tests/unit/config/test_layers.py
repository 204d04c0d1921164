"""Which part may import which: kinds of source are named by the registry alone, and no module imports in a circle."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tasks.sources import registry

ROOT = Path(__file__).parents[3]
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for part in ("flows", "tasks", "monitoring", "infra")
    for path in (ROOT / part).rglob("*.py")
}
# A kind's package, by the place of its connector.
KINDS = {place.partition(":")[0].rpartition(".")[0] for place in registry._OWN.values()}

# What loading decides before any destination is asked: a second one is built on these as they are.
PURE = {
    f"tasks.bronze.{name}"
    for name in ("canonical", "capabilities", "convert", "extended", "kinds", "names", "native", "plan", "seen_plans")
}
# Loading asks a destination for all that it wants of bronze: it writes no statement on relations itself.
LOADING = {
    f"tasks.bronze.{name}" for name in ("destination", "load", "outcome", "pending", "rejects", "reset", "verify")
}
POSTGRES = "tasks.bronze.postgres"

# The views of `ops` that models read; panels and readers have those of `monitoring`.
PUBLISHED = {"account_days", "bronze_columns"}

DATABASES = ("psycopg", "sqlalchemy", "tasks.database", "tasks.ops")

# It looks at a MongoDB to propose sources.yaml. To be removed once the contract lets a kind propose its tables.
PROPOSING = {"flows.init"}


def imports(tree: ast.AST) -> Iterator[str]:
    """Yield every module that a piece of code imports, submodules imported by name included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (name for item in node.names if (name := f"{node.module}.{item.name}") in MODULES)
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (item.name for item in node.names)


def at_import(tree: ast.Module) -> Iterator[str]:
    """Yield what is imported when the module is: neither in functions nor for types alone."""
    for node in tree.body:
        typing_only = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        if not isinstance(node, ast.FunctionDef | ast.ClassDef) and not typing_only:
            yield from imports(node)


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def test_sql_outside_the_control_tables_reads_of_them_what_is_published() -> None:
    # "delete from" and "create table" are met by the same words.
    named = re.compile(r"\b(?:from|join|into|update|table|exists|only)\s+ops\.(\w+)", re.IGNORECASE)
    found = {
        f"{path.relative_to(ROOT)} names ops.{table}"
        for part in ("flows", "tasks", "monitoring", "infra", "dbt/packages")
        for path in (ROOT / part).rglob("*")
        if path.suffix in (".py", ".sql", ".yaml", ".yml") and not path.is_relative_to(ROOT / "tasks/ops")
        for table in named.findall(path.read_text())
        if table not in PUBLISHED
    }
    assert found == set()


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_nothing_outside_imports_a_kind_of_source(kind: str) -> None:
    # Channels are built on the engine for HTTP APIs, and share the marketing package with it.
    family = "tasks.marketing" if within(kind, "tasks.marketing") else kind
    found = {
        f"{module} imports {name}"
        for module, path in MODULES.items()
        if not within(module, family) and module not in PROPOSING
        for name in imports(ast.parse(path.read_text()))
        if within(name, kind)
    }
    assert found == set()


@pytest.mark.parametrize("module", sorted(PURE))
def test_what_loading_decides_knows_no_database(module: str) -> None:
    waiting, seen = [module], set[str]()
    while waiting:
        name = waiting.pop()
        seen.add(name)
        if name in MODULES:
            waiting += set(imports(ast.parse(MODULES[name].read_text()))) - seen
    assert {name for name in seen if any(within(name, database) for database in DATABASES)} == set()


@pytest.mark.parametrize("module", sorted(LOADING))
def test_loading_knows_of_postgres_what_a_destination_offers(module: str) -> None:
    found = {name for name in imports(ast.parse(MODULES[module].read_text())) if within(name, POSTGRES)}
    assert found <= {f"{POSTGRES}.destination"}


def test_no_module_imports_itself_in_a_circle() -> None:
    graph = {
        module: {name for name in at_import(ast.parse(path.read_text())) if name in MODULES and name != module}
        for module, path in MODULES.items()
    }
    # A package that gathers the names of its modules is a shelf, not a user of them.
    shelves = {module for module, path in MODULES.items() if path.name == "__init__.py"}
    try:
        TopologicalSorter(
            {module: names - shelves for module, names in graph.items() if module not in shelves}
        ).prepare()
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' imports '.join(reversed(error.args[1]))}")
