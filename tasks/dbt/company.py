"""A company's own dbt project: its skeleton, and staging models written from what bronze has."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.dbt.project import PACKAGES_VARIABLE, SHIPPED, Project, declared_sources
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
# What bronze adds to a table's own columns; `_id` is the key, the others are told by macros.
_OURS = re.compile(r"_(batch_id|extracted_at|loaded_at|deleted_at|rescued|hash|op|parent_id|position|root_id|id)")
# Types that are written as people write them.
_TYPES = {"timestamp with time zone": "timestamptz"}


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
    return _write({folder / place: text for place, text in texts.items()})


@dataclass(frozen=True)
class BronzeColumn:
    """A column of bronze that a staging model can read.

    Attributes:
        path: Path of the field in the source, `address.zip`.
        type: Its Postgres type.
    """

    path: str
    type: str


def write_model(
    project: Project, source: str, table: str, relation: str, columns: Sequence[BronzeColumn]
) -> list[Path]:
    """Write source, staging model and tests of one relation of bronze into a company's project.

    Args:
        project: The project; never the product's own.
        source: Name of the source.
        table: Name of the table in it, `orders`, or of a child table, `orders__items`.
        relation: Its relation in bronze.
        columns: What the model passes on.

    Returns:
        The files that were written.

    Raises:
        ConfigError: The project is the product's own, or models the table already.
    """
    if project.folder == SHIPPED:
        raise ConfigError(
            "the product's own models are not edited",
            str(SHIPPED),
            "set WAREHOUSE_DBT to a project of your own (write_project, or `warehouse init`, makes one)",
        )
    declared = declared_sources([path for path in project.files() if path.suffix in (".yml", ".yaml")])
    folder, model = project.folder / "models" / "silver" / source, f"stg_{source}__{table}"
    if f"{source}.{table}" in (declared or ()) or (folder / f"{model}.sql").exists():
        raise ConfigError(f"{source}.{table} is a source of the dbt project already", str(folder), f"edit {model}")
    names = _names([column.path for column in columns])
    lines = [f"    bronze_rows._id as {_key_name(table)}"]
    lines += [
        f"    {{{{ warehouse.bronze_value(bronze, '{column.path}', '{_TYPES.get(column.type, column.type)}') }}}}"
        f" as {names[column.path]}"
        for column in columns
    ]
    sql = "\n".join(
        (
            f"{{%- set bronze = warehouse.bronze_table('{source}', '{table}') -%}}",
            "select",
            ",\n".join(lines),
            "from {{ bronze.rows }}",
            "",
        )
    )
    return _write({folder / f"{model}.sql": sql, folder / f"{model}.yml": _yaml(source, table, relation, names)})


def _key_name(table: str) -> str:
    """Return the name of a table's key: that of one row."""
    last = table.rsplit("__", 1)[-1]
    one = re.sub(r"ies$", "y", last) if last.endswith("ies") else last.removesuffix("s")
    return f"{one}_id"


def _names(paths: Sequence[str]) -> dict[str, str]:
    """Return a column name for each path: small letters, words joined by underscores, each once."""
    found: dict[str, str] = {}
    taken: set[str] = set()
    for path in paths:
        words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", path)
        name = re.sub(r"\W+", "_", words).strip("_").lower() or "value"
        name = f"_{name}" if name[0].isdigit() else name
        unique, number = name, 2
        while unique in taken:
            unique, number = f"{name}_{number}", number + 1
        taken.add(unique)
        found[path] = unique
    return found


def _yaml(source: str, table: str, relation: str, names: Mapping[str, str]) -> str:
    key = _key_name(table)
    columns = "".join(
        f"      - name: {json.dumps(name)}\n        description: {json.dumps(f'Field {path} of the source.')}\n"
        for path, name in names.items()
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


def own_columns(columns: Sequence[BronzeColumn]) -> list[BronzeColumn]:
    """Return the columns without those that loading adds."""
    return [column for column in columns if not _OURS.fullmatch(column.path)]
