"""A company's own dbt project: its skeleton, and staging models written from what bronze has."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from tasks.dbt.project import PACKAGES_VARIABLE, SHIPPED, Project, declared_sources
from tasks.dbt.staging import Bronze, described, description, key_name, new_block
from tasks.errors import ConfigError

_PROJECT = """\
# Your models, beside the packages of the product that packages.yml installs. Set WAREHOUSE_DBT to this folder.
name: {name}
version: "1.0"
config-version: 2
profile: warehouse
require-dbt-version: [">=1.11.0", "<1.12.0"]

model-paths: [models]
macro-paths: [macros]
test-paths: [tests]
seed-paths: [seeds]

# Nothing is sent anywhere.
flags:
  send_anonymous_usage_stats: false
  require_generic_test_arguments_property: true
  warn_error_options: {{silence: [JinjaLogWarning, UnsupportedConstraintMaterialization]}}

# What the packages' models do otherwise than they do by themselves; never edit the packages.
vars: {{}}

models:
  {name}:
    +persist_docs: {{relation: true, columns: true}}
    silver:
      +schema: silver
      +materialized: view
    gold:
      +schema: gold
      +materialized: table
"""
_PACKAGES = """\
# The product's packages, from where it is installed: no network is needed, and an upgrade of the product is theirs too.
packages:
{packages}"""
_SCHEMAS = """\
{#- Schemas are called exactly silver and gold: the schema says the layer, in every environment. -#}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {{ (custom_schema_name or target.schema) | trim }}
{%- endmacro %}
"""
_IGNORED = "target/\nlogs/\ndbt_packages/\npackage-lock.yml\n"


def write_project(folder: Path, name: str = "company", packages: Sequence[str] = ("core", "ads")) -> list[Path]:
    """Write the skeleton of a company's dbt project; files that are there stay as they are.

    Args:
        folder: The project's folder.
        name: Name of the project: small letters, digits and underscores.
        packages: The product's packages that it installs, of the folders below `SHIPPED / "packages"`.

    Returns:
        The files that were written.

    Raises:
        ConfigError: The name is none for a dbt project, or a package does not exist.
    """
    if not re.fullmatch(r"[a-z_][a-z0-9_]*", name):
        raise ConfigError(f"{name!r} is no name for a dbt project", "", "use small letters, digits and underscores")
    unknown = [package for package in packages if not (SHIPPED / "packages" / package).is_dir()]
    if unknown:
        known = sorted(path.name for path in (SHIPPED / "packages").iterdir() if path.is_dir())
        raise ConfigError(f"there is no package {unknown[0]!r}", "", f"the packages are {', '.join(known)}")
    lines = "".join(f"  - local: \"{{{{ env_var('{PACKAGES_VARIABLE}') }}}}/{package}\"\n" for package in packages)
    texts = {
        "dbt_project.yml": _PROJECT.format(name=name),
        "packages.yml": _PACKAGES.format(packages=lines),
        "macros/generate_schema_name.sql": _SCHEMAS,
        ".gitignore": _IGNORED,
    }
    for part in ("models/silver", "models/gold", "seeds", "tests"):
        texts[f"{part}/.gitkeep"] = ""
    return _write({folder / path: text for path, text in texts.items()})


def write_model(project: Project, source: str, table: str, bronze: Bronze) -> list[Path]:
    """Write source, staging model and tests of one relation of bronze into a company's project.

    Args:
        project: The project; never the product's own.
        source: Name of the source.
        table: Name of the table in it, `orders`, or of a child table, `orders__items`.
        bronze: What bronze has of it.

    Returns:
        The files that were written.

    Raises:
        ConfigError: The project is the product's own, or models the table already.
    """
    _refuse_shipped(project)
    declared = declared_sources([path for path in project.files() if path.suffix in (".yml", ".yaml")])
    folder, model = project.folder / "models" / "silver" / source, f"stg_{source}__{table}"
    if f"{source}.{table}" in (declared or ()) or (folder / f"{model}.sql").exists():
        raise ConfigError(f"{source}.{table} is a source of the dbt project already", str(folder), f"edit {model}")
    block = new_block(source, table, bronze)
    sql = "\n".join(
        (
            f"{{%- set bronze = warehouse.bronze_table('{source}', '{table}') -%}}",
            "select",
            block,
            "from {{ bronze.rows }}",
            "",
        )
    )
    yaml = _yaml(source, table, bronze.relation, described(block))
    return _write({folder / f"{model}.sql": sql, folder / f"{model}.yml": yaml})


def find_model(project: Project, source: str, table: str) -> Path:
    """Return the staging model that a company's project has of a table.

    Raises:
        ConfigError: The project is the product's own, or has no such model.
    """
    _refuse_shipped(project)
    model = f"stg_{source}__{table}.sql"
    for path in project.files():
        if path.name == model and path.is_relative_to(project.folder):
            return path
    raise ConfigError(
        f"your dbt project has no {model}",
        str(project.folder),
        f"`warehouse model new {source}.{table}` writes one; to a package's, add columns by passthrough_columns",
    )


def replace_text(path: Path, before: str, after: str) -> None:
    """Put another text in the place of a file's, all or nothing.

    Raises:
        ConfigError: Somebody changed the file since it was read.
    """
    target = path.resolve()
    if read_text(target) != before:
        raise ConfigError("somebody changed the file meanwhile: nothing was written", str(path), "run this again")
    beside = target.with_name(f".{target.name}.new")
    try:
        beside.write_bytes(after.encode())
        shutil.copymode(target, beside)
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)


def read_text(path: Path) -> str:
    """Return a file's text with the ends of lines that it has."""
    return path.read_bytes().decode()


def _refuse_shipped(project: Project) -> None:
    if project.folder == SHIPPED:
        raise ConfigError(
            "the product's own models are not edited",
            str(SHIPPED),
            "set WAREHOUSE_DBT to a project of your own (`warehouse init` makes one)",
        )


def _yaml(source: str, table: str, relation: str, names: Mapping[str, str]) -> str:
    key = key_name(table)
    told = {name: description(f"Field {path} of the source.") for name, path in names.items()}
    columns = "".join(
        f"      - name: {json.dumps(name)}\n        description: {json.dumps(text)}\n" for name, text in told.items()
    )
    return f"""\
sources:
  - name: {source}
    schema: bronze
    tables:
      - name: {table}
        identifier: {relation}
        loaded_at_field: _loaded_at

models:
  - name: stg_{source}__{table}
    description: One row per {key.removesuffix("_id").replace("_", " ")} that {source}.{table} still has.
    columns:
      - name: {key}
        description: Key in the source.
        data_tests: [not_null, unique]
{columns}"""


def _write(texts: Mapping[Path, str]) -> list[Path]:
    written = []
    for path, text in texts.items():
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            written.append(path)
    return written
