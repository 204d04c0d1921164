"""`make docs`: the documentation of silver and gold, with lineage, as one HTML file that needs no server."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from infra.embedded import services
from tasks.dbt import DbtCommand, environment
from tasks.errors import DbtError, WarehouseError
from tasks.settings import get_settings


def write(to: Path) -> Path:
    """Write the documentation of the models, as the warehouse holds them now.

    Args:
        to: The file.

    Raises:
        DbtError: dbt failed.
    """
    settings = get_settings()
    services.up(settings.home, print, only=frozenset({"postgres"}))
    with tempfile.TemporaryDirectory(prefix="warehouse-docs-") as folder:
        command = DbtCommand(Path(folder), verb="docs generate --static")
        done = subprocess.run(  # noqa: S603 - dbt's own command line, no shell
            [sys.executable, "-P", "-m", "dbt.cli.main", *command.arguments()],
            env=environment(settings.database_url(), os.environ),
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise DbtError(f"dbt could not write the documentation: {done.stdout[-1500:]}", "dbt docs generate")
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_bytes((Path(folder) / "static_index.html").read_bytes())
    return to.resolve()


if __name__ == "__main__":
    try:
        print(f"written: {write(get_settings().home / 'models.html')}")
    except WarehouseError as error:
        sys.exit(str(error))
