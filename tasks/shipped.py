"""Files of the product that belong to no package: beside them in a checkout, in a folder of ours once installed."""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).resolve().parent
# Made by the wheel's build (pyproject.toml), so it exists where the product is installed and nowhere else.
_INSTALLED = _HERE / "files"


def path(name: str) -> Path:
    """Return the path of `dbt`, `prefect.yaml` or `sources.yaml` as the product brings it."""
    return (_INSTALLED if _INSTALLED.is_dir() else _HERE.parent) / name
