"""Remove from an environment what no pod ever reads: tests, type stubs, C sources, foreign locales."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

_FOLDERS = {"tests", "test"}
# What only looks like a test: dbt's generic tests (unique, not_null) are macros in a folder of this name.
_KEEP = ("dbt/include/",)
_SUFFIXES = {".pyi", ".pyx", ".pxd", ".c", ".h", ".hpp", ".cpp", ".a", ".map"}


def prune(packages: Path) -> int:
    """Delete what is not needed below a site-packages folder.

    Args:
        packages: The folder.

    Returns:
        The bytes removed.
    """
    removed = 0
    for folder in sorted(path for path in packages.rglob("*") if path.is_dir() and path.name in _FOLDERS):
        if folder.exists() and not str(folder.relative_to(packages)).startswith(_KEEP):
            removed += sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
            shutil.rmtree(folder)
    for file in packages.rglob("*"):
        if file.is_file() and (file.suffix in _SUFFIXES or _foreign_locale(file)):
            removed += file.stat().st_size
            file.unlink()
    return removed


def _foreign_locale(file: Path) -> bool:
    # agate parses dbt's seed numbers with English conventions only; babel brings 1,100 other locales.
    return (
        file.parent.name == "locale-data"
        and file.suffix == ".dat"
        and not file.name.startswith(("en.", "en_", "root."))
    )


if __name__ == "__main__":
    for found in Path(sys.argv[1]).glob("lib/python*/site-packages"):
        print(f"pruned {prune(found) / 1e6:.0f} MB below {found}")
