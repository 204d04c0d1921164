"""`warehouse init`: a company's own folder, with sources.yaml proposed from a look at its database."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from tasks.errors import ConfigError

_IGNORED = ".env\n.warehouse/\n"
_DBT = "dbt"
_README = """# Warehouse of {name}

`sources.yaml` says what is ingested, `dbt/` holds your own models; `.env` holds what is secret and stays out of version
control. Versions of the product are upgraded as a dependency: nothing of it is copied here.

```sh
set -a; . ./.env; set +a
warehouse check                    # everything that is wrong, at once
warehouse run --plan               # what would be read
warehouse run
warehouse model new {name}.TABLE   # a first model of a loaded table, in dbt/
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
    from tasks.dbt.company import write_project
    from tasks.sources import registry

    target = folder / "sources.yaml"
    if target.exists():
        raise ConfigError("there is a sources.yaml already", str(target), "give another folder, or remove the file")
    proposal = registry.connector("mongodb").propose(uri, database, name)
    folder.mkdir(parents=True, exist_ok=True)
    target.write_text(proposal.yaml, encoding="utf-8")
    _write_secrets(folder / ".env", uri, hashed=proposal.hashes)
    _write_new(folder / ".gitignore", _IGNORED)
    _write_new(folder / "README.md", _README.format(name=proposal.source))
    write_project(folder / _DBT, proposal.source)
    return [*proposal.lines, f"{_DBT}/: a dbt project for your own models, beside those that the product brings"]


def _write_secrets(path: Path, uri: str, *, hashed: bool) -> None:
    """Write what must not be in sources.yaml, for the owner's eyes alone; an existing file stays as it is."""
    lines = [f"MONGODB_URI={_quoted(uri)}", f"WAREHOUSE_DBT={_DBT}"]
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
