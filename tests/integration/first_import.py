"""A program: does what a command does until it imports Prefect, and says whether Prefect's server was known by then.

Prefect reads `PREFECT_API_URL` when it is imported, and starts a temporary server of its own where it finds none.
Usage: `python -m tests.integration.first_import warehouse-arguments...`; prints one line of JSON.
"""

from __future__ import annotations

import importlib.abc
import json
import os
import sys
from pathlib import Path
from typing import Any

# Port 9 (discard): nothing must come so far as to ask the server.
SERVER = "http://127.0.0.1:9/api"


class Imported(BaseException):
    """Prefect was about to be imported."""


class Watch(importlib.abc.MetaPathFinder):
    """Ends the program at the first import of Prefect."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> None:
        """Raise for Prefect, find nothing else."""
        if name.partition(".")[0] in ("prefect", "prefect_kubernetes"):
            raise Imported(name)


def pretend_server() -> None:
    """Have an embedded Prefect server that is running once it was started, without the time that one takes."""
    from infra.embedded import prefect
    from infra.embedded.process import Status

    running: list[str] = []

    def up(home: Path, *_: Any, **__: Any) -> str:
        running.append(SERVER)
        return SERVER

    prefect.up = up  # type: ignore[assignment]
    prefect.begin = up  # type: ignore[assignment]
    prefect.down = lambda home: running.clear()  # type: ignore[assignment]
    prefect.url = lambda home: SERVER  # type: ignore[assignment]
    prefect.status = lambda home: Status("prefect", bool(running), SERVER, 0, home)  # type: ignore[assignment]


def main() -> None:
    """Run one command."""
    from flows import cli

    pretend_server()
    found: dict[str, Any] = {"imported": "", "server": ""}
    sys.meta_path.insert(0, Watch())
    try:
        found["code"] = cli.invoke(sys.argv[1:], debug=True)
    except Imported as imported:
        found.update(imported=str(imported), server=os.environ.get("PREFECT_API_URL", ""))
    print("\n" + json.dumps(found))


if __name__ == "__main__":
    main()
