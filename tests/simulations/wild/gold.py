"""A company's own dbt project above the application: staging models by the product's commands, and marts by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any


class Project:
    """The project's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.exists = folder, False

    def begin(self, commands: Any, tables: tuple[str, ...]) -> None:
        raise NotImplementedError
