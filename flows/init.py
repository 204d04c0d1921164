"""`warehouse init`: a company's own folder, with sources.yaml proposed from a look at its database."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.errors import ConfigError

if TYPE_CHECKING:
    from pymongo import MongoClient

_WHERE = "warehouse init"
_IGNORED = ".env\n.warehouse/\ndbt/target/\ndbt/logs/\ndbt/dbt_packages/\n"
_README = """# Warehouse of {name}

`sources.yaml` says what is ingested; `.env` holds what is secret and stays out of version control.

```sh
set -a; . ./.env; set +a
warehouse check          # everything that is wrong, at once
warehouse run --plan     # what would be read
warehouse run
```
"""


def init(folder: Path, uri: str, database: str | None, name: str | None) -> list[str]:
    """Write a company's folder; return what was written and found, a line each.

    Args:
        folder: Where to; made where it is missing.
        uri: MongoDB URI; it goes to `.env` alone.
        database: The database; None where the server has one only, or the URI names it.
        name: The source's name; None takes the database's.

    Raises:
        ConfigError: The folder has a sources.yaml already, or the database is not clear.
        SourceError: The server cannot be reached or refuses.
    """
    from tasks.mongodb.propose import propose, table_name, to_yaml

    target = folder / "sources.yaml"
    if target.exists():
        raise ConfigError("there is a sources.yaml already", str(target), "give another folder, or remove the file")
    database, surveys, streams = _look(uri, database)
    proposals = propose(surveys, streams=streams)
    if not proposals:
        raise ConfigError(f"the database {database} has no collection that can be read", _WHERE, "give --database")
    refused = {survey.name: survey.refused for survey in surveys if survey.refused is not None}
    source = name or table_name(database)
    folder.mkdir(parents=True, exist_ok=True)
    target.write_text(to_yaml(source, database, proposals, refused), encoding="utf-8")
    _write_secrets(folder / ".env", uri, hashed=any(step[0] == "hash" for p in proposals for step in p.steps))
    _write_new(folder / ".gitignore", _IGNORED)
    _write_new(folder / "README.md", _README.format(name=source))
    found = [f"{p.table}: {p.keys['mode']}, {p.reasons['mode']}" for p in proposals]
    hidden = [f"{p.table}.{path}: {step}, {reason}" for p in proposals for step, path, reason in p.steps]
    return [*found, *hidden, *(f"{name}: could not be read: {reason}" for name, reason in refused.items())]


def _look(uri: str, database: str | None) -> tuple[str, list[Any], bool]:
    """Return the database's name, what is known of its collections, and whether there are change streams."""
    from pydantic import SecretStr
    from pymongo.errors import ConfigurationError, PyMongoError

    from tasks.mongodb.client import connect, translate
    from tasks.mongodb.config import MongoSource, MongoTable
    from tasks.mongodb.survey import has_streams, survey

    source = MongoSource(
        kind="mongodb", uri=SecretStr(uri), database=database or "unknown", tables={"any": MongoTable()}
    )
    with connect(source) as client:
        try:
            if database is None:
                try:
                    database = client.get_default_database().name
                except ConfigurationError:
                    database = _only_database(client)
            return database, list(survey(client[database])), has_streams(client)
        except PyMongoError as error:
            raise translate(error, _WHERE) from error


def _only_database(client: MongoClient[Any]) -> str:
    from tasks.mongodb.survey import databases

    found = databases(client)
    if len(found) != 1:
        raise ConfigError(
            "the URI names no database" if found else "the server has no database that this user may see",
            _WHERE,
            f"give --database, one of: {', '.join(found)}" if found else "check the user's rights",
        )
    return found[0]


def _write_secrets(path: Path, uri: str, *, hashed: bool) -> None:
    """Write what must not be in sources.yaml, for the owner's eyes alone; an existing file stays as it is."""
    lines = [f"MONGODB_URI={_quoted(uri)}"]
    if hashed:
        lines.append(f"WAREHOUSE_HASH_KEY={secrets.token_hex(32)}")
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        return
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")


def _quoted(text: str) -> str:
    """Return a text as a shell reads it back."""
    return "'" + text.replace("'", "'\\''") + "'"


def _write_new(path: Path, text: str) -> None:
    if not path.exists():
        path.write_text(text, encoding="utf-8")
