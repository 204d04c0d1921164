"""Manifests: connectors that are a description in YAML, run by one engine of the catalogue."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

ENGINE = "manifest"
"""The entry of the catalogue that runs them."""
# Where the engine looks for the description beside what it is configured with.
KEY = "__injected_declarative_manifest"


def read(path: Path) -> dict[str, Any]:
    """Return the description in a file.

    Raises:
        ValueError: There is none, or it names code of its own, which is not run.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        found = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from None
    except (UnicodeDecodeError, YAMLError) as error:
        raise ValueError(f"{path} is no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(found, dict) or found.get("type") != "DeclarativeSource":
        raise ValueError(f"{path} is no manifest: it has no `type: DeclarativeSource` at its top")
    if not (found.get("streams") or found.get("dynamic_streams")):
        raise ValueError(f"{path} describes no streams")
    if code := next(_code(found), None):
        raise ValueError(f"{path} needs code of its own ({code}), which is not run: describe it without")
    return found


def _code(value: Any) -> Iterator[str]:
    """Yield the names of classes that a description wants to be run."""
    if isinstance(value, dict):
        if "class_name" in value:
            yield str(value["class_name"])
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from _code(inner)
