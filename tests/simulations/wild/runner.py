"""A program that imports the product once and does commands in a child of its own for each line that it reads.

The child counts what it does: statements to Postgres, commands to MongoDB, files that it writes. Before event `stop` it
kills itself, with SIGKILL, so that it ends between any two of them and without a word. No time is guessed.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import Any


class Events:
    """Counts events of all threads."""

    def __init__(self, stop: int) -> None:
        self.count, self._stop, self._lock = 0, stop, threading.Lock()

    def __call__(self) -> None:
        """Count one; the chosen one is the end."""
        with self._lock:
            self.count += 1
            if self.count == self._stop:
                os.kill(os.getpid(), signal.SIGKILL)


def watch(events: Events) -> None:
    """Have everything counted that others than this process can see."""
    import psycopg
    from pymongo import monitoring

    class Commands(monitoring.CommandListener):
        def started(self, event: Any) -> None:
            events()

        def succeeded(self, event: Any) -> None:
            pass

        failed = succeeded

    monitoring.register(Commands())
    for name in ("execute", "executemany", "copy"):
        setattr(psycopg.Cursor, name, counted(getattr(psycopg.Cursor, name), events))
    landing = str(Path(os.environ["WAREHOUSE_HOME"]))

    def audit(name: str, arguments: Any) -> None:
        writes = name == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
        if (writes or name in ("os.rename", "os.mkdir")) and str(arguments[0]).startswith(landing):
            events()

    sys.addaudithook(audit)


def counted(method: Any, events: Events) -> Any:
    def call(*arguments: Any, **options: Any) -> Any:
        events()
        return method(*arguments, **options)

    return call


def command(arguments: list[str], stop: int, output: Path) -> None:
    """Do one command and leave what it said, and how many events it had, beside each other."""
    from flows import cli

    log = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    events = Events(stop)
    watch(events)
    code = 70
    try:
        code = cli.invoke(arguments, debug=True)
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    output.with_suffix(".events").write_text(str(events.count))
    os._exit(code)


def main() -> None:
    """Read commands, one JSON line each, and answer with how each ended."""
    import polars  # noqa: F401
    import psycopg  # noqa: F401
    import pymongo  # noqa: F401

    import flows.dbt_transform
    import flows.extract
    import flows.load_bronze
    import flows.pipeline  # noqa: F401
    import tasks.bronze.load
    import tasks.bronze.pending
    import tasks.mongodb.extract  # noqa: F401

    for line in sys.stdin:
        asked = json.loads(line)
        output = Path(asked["output"])
        output.with_suffix(".events").unlink(missing_ok=True)
        sys.stdout.flush()
        if not (child := os.fork()):
            command(asked["arguments"], asked["stop"], output)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        counted_file = output.with_suffix(".events")
        events = int(counted_file.read_text()) if counted_file.exists() else asked["stop"]
        print(json.dumps({"code": status, "events": events}), flush=True)


if __name__ == "__main__":
    main()
