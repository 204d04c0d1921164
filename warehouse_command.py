"""The entry of the command `warehouse`: outside all packages, so that it can tell when another hides one of ours."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("flows", "tasks", "monitoring", "infra")


def main() -> None:
    """Run the command, unless another package of the same name would be imported instead of one of ours."""
    for name in PACKAGES:
        found = _folder(name)
        if found != Path(__file__).resolve().parent / name:
            sys.exit(
                f"error: the package `{name}` of the warehouse is hidden by {found or 'nothing: it is not installed'}\n"
                "to do: take that folder off PYTHONPATH, or install the warehouse into an environment of its own"
            )
    from flows.cli import main as run

    run()


def _folder(name: str) -> Path | None:
    """Return the folder that a package would be imported from."""
    spec = find_spec(name)
    if spec is None:
        return None
    folders = (
        [Path(spec.origin).parent] if spec.origin else [Path(one) for one in spec.submodule_search_locations or ()]
    )
    return folders[0].resolve() if folders else None
