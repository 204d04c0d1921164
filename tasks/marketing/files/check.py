"""`warehouse check` of a files source: the folder, and how many files each table has."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tasks.errors import redact
from tasks.marketing.files.config import FilesSource
from tasks.sources.connector import Finding


def check(name: str, source: FilesSource) -> Iterator[Finding]:
    """Look at a source; see `tasks.sources.connector.Connector.check`."""
    if "://" in source.path:
        yield Finding("ok", f"source {name}", f"{redact(source.path)}; listed when it is read")
        return
    folder = Path(source.path)
    if not folder.is_dir():
        yield Finding(
            "wrong", f"source {name}", f"the folder {folder} does not exist", "correct `path` in sources.yaml"
        )
        return
    for table_name, table in source.tables.items():
        count = sum(1 for _ in folder.glob(table.pattern))
        if count:
            yield Finding("ok", f"{name}.{table_name}", f"{count} file(s)")
        else:
            yield Finding(
                "warning", f"{name}.{table_name}", f"no file matches {table.pattern} in {folder}", "check the pattern"
            )
