"""`make docs`: the documentation of silver and gold, with lineage, as one HTML file that needs no server."""

from __future__ import annotations

import sys
from pathlib import Path

from infra.embedded import services
from tasks import dbt
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
    said: list[str] = []
    with dbt.start(settings, progress=said.append) as process:
        if process.command(["docs", "generate", "--static"]):
            raise DbtError("dbt could not write the documentation: " + "\n".join(said[-20:]), "dbt docs generate")
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_bytes((process.target / "static_index.html").read_bytes())
    return to.resolve()


if __name__ == "__main__":
    try:
        print(f"written: {write(get_settings().home / 'models.html')}")
    except WarehouseError as error:
        sys.exit(str(error))
