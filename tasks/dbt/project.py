"""The dbt project in use: where it is, what identifies its state, what it declares, and how dbt is called on it."""

from __future__ import annotations

import getpass
import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from tasks import shipped
from tasks.errors import ConfigError
from tasks.settings import Settings
from tasks.sources import TableRef

SHIPPED = shipped.path("dbt")
"""The product's own project: what is built where no other is named, and the packages that others install."""

PACKAGES_VARIABLE = "WAREHOUSE_DBT_PACKAGES"
"""Environment variable with the folder of the product's packages, for the packages.yml of a company's project."""

# libpq reads these from the environment; dbt's profile has no place for them.
_LIBPQ_EXTRAS = ("sslrootcert", "sslcert", "sslkey", "sslcrl", "channel_binding", "target_session_attrs", "options")
_SUFFIXES = (".sql", ".yml", ".yaml", ".csv", ".py", ".md")
_INSTALLED = "dbt_packages"
_LOCAL = re.compile(r"""\blocal:.*?([\w-]+)/?["']?\s*(?:#.*)?$""", re.MULTILINE)
# What dbt or an editor writes beside the project's own files.
_PASSED_OVER = frozenset({"target", "logs", "node_modules"})
# Environment variables beside dbt's own that decide what the same files parse to.
_DECIDING = ("WAREHOUSE_DBT_HOST", "WAREHOUSE_DBT_DBNAME", PACKAGES_VARIABLE)


@dataclass(frozen=True)
class Project:
    """A folder with a dbt_project.yml.

    Attributes:
        folder: The folder.
        packages: Where the product's own packages are.
    """

    folder: Path
    packages: Path = SHIPPED / "packages"

    @classmethod
    def of(cls, settings: Settings) -> Project:
        """Return the project that the settings name.

        Raises:
            ConfigError: WAREHOUSE_DBT names no dbt project.
        """
        folder = Path(settings.dbt).resolve() if settings.dbt else SHIPPED
        if not (folder / "dbt_project.yml").is_file():
            raise ConfigError(
                "there is no dbt_project.yml", str(folder), "set WAREHOUSE_DBT to the folder of a dbt project"
            )
        return cls(folder)

    @property
    def profiles(self) -> Path:
        """The folder whose profiles.yml is used: the project's own, else the product's."""
        return self.folder if (self.folder / "profiles.yml").is_file() else SHIPPED

    def files(self) -> Iterator[Path]:
        """Yield the files that decide what dbt builds: the project's, and those of the packages that it installs."""
        yield from _files(self.folder)
        if self.installs:
            for package in self._shipped():
                yield from _files(package)
            # Installed packages of others; ours are links into the product, and were named above.
            for package in sorted((self.folder / _INSTALLED).glob("*")):
                if not package.is_symlink():
                    yield from _files(package)

    @property
    def installs(self) -> bool:
        """Whether the project installs packages by a file of its own."""
        return any(path.is_file() for path in self._installing())

    def _installing(self) -> list[Path]:
        return [self.folder / name for name in ("packages.yml", "dependencies.yml")]

    def _shipped(self) -> list[Path]:
        """Return the product's packages that the project names, by the last part of the path, or has installed."""
        texts = [path.read_text(encoding="utf-8") for path in self._installing() if path.is_file()]
        names = {name for text in texts for name in _LOCAL.findall(text)}
        names |= {path.resolve().name for path in (self.folder / _INSTALLED).glob("*") if path.is_symlink()}
        return [package for package in sorted(self.packages.glob("*")) if package.name in names]

    @property
    def needs_deps(self) -> bool:
        """Whether packages have to be installed first: none is, or what is there leads nowhere."""
        if not self.installs:
            return False
        found = list((self.folder / _INSTALLED).glob("*"))
        wanted = max((path.stat().st_mtime for path in self.folder.glob("*.yml")), default=0.0)
        stale = (self.folder / _INSTALLED).stat().st_mtime < wanted if found else True
        return stale or any(not path.exists() or self._leads_astray(path) for path in found)

    def _leads_astray(self, package: Path) -> bool:
        """Return whether a link was made for another installation of the product."""
        return package.is_symlink() and not package.resolve().is_relative_to(self.packages.resolve())

    def checksum(self, env: Mapping[str, str]) -> str:
        """Return what changes whenever parsing could give another result: files, environment and versions."""
        made = hashlib.sha256()
        for path in self.files():
            made.update(f"{path}\0".encode())
            made.update(path.read_bytes())
        told = {name: value for name, value in env.items() if name.startswith("DBT_") and "SECRET" not in name}
        told |= {name: env.get(name, "") for name in _DECIDING}
        # Another worker may tell the graph otherwise; an image holds the product's files without its metadata.
        made.update((Path(__file__).parents[1] / "dbt_worker/worker.py").read_bytes())
        versions = [version(name) for name in ("dbt-core", "dbt-postgres")]
        made.update(repr((sorted(told.items()), versions, str(self.profiles))).encode())
        return made.hexdigest()

    def arguments(self, target: Path) -> list[str]:
        """Return the arguments that every dbt command gets."""
        return [
            *("--project-dir", str(self.folder), "--profiles-dir", str(self.profiles)),
            *("--target-path", str(target), "--log-path", str(target / "logs")),
            # Its lines go into logs, which show the codes of colours as such.
            "--no-use-colors",
        ]

    def may_read(self, refs: Iterable[TableRef]) -> bool:
        """Return whether a YAML file of the project declares one of the tables as a source; parses without dbt."""
        declared = declared_sources(tuple(path for path in self.files() if path.suffix in (".yml", ".yaml")))
        return declared is None or any(name in declared for ref in refs for name in source_names(ref))


def _files(folder: Path) -> Iterator[Path]:
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and name not in _PASSED_OVER and name != _INSTALLED
        )
        yield from (Path(root) / name for name in sorted(names) if name.endswith(_SUFFIXES))


def declared_sources(files: Iterable[Path]) -> frozenset[str] | None:
    """Return the `source.table` names that YAML files declare for dbt, None when one cannot be told without dbt."""
    found: set[str] = set()
    for path in files:
        names = _declared(path, path.stat().st_mtime_ns)
        if names is None:
            return None
        found |= names
    return frozenset(found)


@lru_cache(maxsize=1024)
def _declared(path: Path, changed: int) -> frozenset[str] | None:
    text = path.read_text(encoding="utf-8")
    if not re.search(r"^sources:", text, re.MULTILINE):
        return frozenset()
    try:
        sources: Any = (YAML(typ="safe").load(text) or {}).get("sources") or []
    except YAMLError:
        return None
    if not isinstance(sources, list):
        # The configuration of sources in a dbt_project.yml, which declares none.
        return frozenset()
    names = {f"{source.get('name')}.{table.get('name')}" for source in sources for table in source.get("tables") or []}
    return None if any("{" in name for name in names) else frozenset(names)


def source_names(ref: TableRef) -> list[str]:
    """Return the names under which dbt knows a table and its child tables: `source.table`."""
    return [ref.name, *(f"{ref.name}__{path.replace('.', '__')}" for path in ref.table.child_paths)]


def selection(refs: Iterable[TableRef]) -> tuple[str, ...]:
    """Return the dbt selectors of everything that the given tables feed, their child tables included."""
    return tuple(f"source:{name}+" for ref in refs for name in source_names(ref))


def environment(url: str, base: Mapping[str, str]) -> dict[str, str]:
    """Return the environment that dbt's profile reads, derived from a Postgres URL.

    Args:
        url: Any URL or conninfo that libpq accepts; a folder as host means a Unix socket.
        base: The environment to extend.
    """
    from psycopg.conninfo import conninfo_to_dict

    parts = {key: str(value) for key, value in conninfo_to_dict(url).items() if value is not None}
    user = parts.get("user") or base.get("PGUSER") or getpass.getuser()
    made = {
        "WAREHOUSE_DBT_HOST": parts.get("host") or base.get("PGHOST", ""),
        "WAREHOUSE_DBT_PORT": parts.get("port") or base.get("PGPORT", "5432"),
        "WAREHOUSE_DBT_USER": user,
        "WAREHOUSE_DBT_DBNAME": parts.get("dbname") or base.get("PGDATABASE") or user,
        "WAREHOUSE_DBT_SSLMODE": parts.get("sslmode") or base.get("PGSSLMODE", "prefer"),
        # dbt hides values of variables with this prefix in its own logs.
        "DBT_ENV_SECRET_WAREHOUSE_PASSWORD": parts.get("password") or base.get("PGPASSWORD", ""),
        PACKAGES_VARIABLE: str(SHIPPED / "packages"),
        # Text that names no zone is UTC, as everywhere in the warehouse, whatever the server's own zone is.
        "PGTZ": "UTC",
        # Each statement in it doubles what dbt's log costs; who looks for something sets it to "debug".
        "DBT_LOG_LEVEL_FILE": base.get("DBT_LOG_LEVEL_FILE", "info"),
        **{f"PG{key.upper().replace('_', '')}": parts[key] for key in _LIBPQ_EXTRAS if key in parts},
    }
    return {**base, **made}
