"""Whole commands from the shell, ours and the peers': what a person waits for, from pressing return to the prompt."""

from __future__ import annotations

import json
import os
import subprocess
import sysconfig
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from infra.embedded import prefect
from tests.benchmarks import peers
from tests.benchmarks.inputs import fill

_WAREHOUSE = Path(sysconfig.get_path("scripts")) / "warehouse"
# From nothing, then in the home that the first one made, then beside a server that is up.
_TABLES = ("cold", "warm", "served")
_WORKER_STARTS_WITHIN = 120.0


def measure(uri: str, url: str, database: str, sizes: Sequence[int], environments: Path) -> dict[str, Any]:
    """Load one collection of each size by one whole command; then the commands that move nothing.

    Args:
        uri: The MongoDB server that is read.
        url: The Postgres that is written.
        database: Its database, in which collections are made.
        sizes: Numbers of documents.
        environments: Folder of the peers' environments.

    Returns:
        Seconds by size and by who, and those of the commands that move nothing.
    """
    binaries = {name: peers.environment(name, environments) for name in ("sling", "dlt", "pandas")}
    print(f"\n{'whole commands':>14} {'from nothing':>13} {'warm':>7} {'server up':>10} {'sling':>7} {'dlt':>7} "
          f"{'pandas':>7}  seconds")  # fmt: skip
    found: dict[str, Any] = {}
    for size in sizes:
        place = peers.Place(uri, database, fill(uri, database, "uniform", size, prefix="commands_"), url)
        with tempfile.TemporaryDirectory(prefix="warehouse-commands-") as folder:
            seconds = _ours(place, Path(folder))
            if size == min(sizes):
                found["moving nothing"] = _idle(place, Path(folder))
        runs = {
            "sling": partial(peers.run_sling, binaries["sling"], place, environments),
            "dlt": partial(peers.run_dlt, binaries["dlt"], place, "default"),
            "pandas": partial(peers.run_pandas, binaries["pandas"], place),
        }
        seconds |= {name: run().detail["whole"] for name, run in runs.items()}
        print(f"{size:14,} {seconds['cold']:13.1f} {seconds['warm']:7.1f} {seconds['served']:10.1f} "
              f"{seconds['sling']:7.1f} {seconds['dlt']:7.1f} {seconds['pandas']:7.1f}", flush=True)  # fmt: skip
        found[str(size)] = seconds
    for name, taken in found["moving nothing"].items():
        print(f"{name:>14} {taken:13.2f}", flush=True)
    return found


def _ours(place: peers.Place, folder: Path) -> dict[str, float]:
    """Load the collection into a new table by each of our ways; ours is a first load each time, as the peers' is."""
    _write_sources(place, folder)
    seconds = {}
    for table in _TABLES:
        if table == "served":
            _warehouse(place, folder, "up")
            _await_worker(folder)
        seconds[table] = _warehouse(place, folder, "run", f"bench.{place.collection}_{table}")
    _warehouse(place, folder, "down")
    return seconds


def _await_worker(folder: Path) -> None:
    """Wait until the worker has told the server that it is there: its start takes seconds of both cores."""
    asked = urllib.request.Request(
        f"{prefect.url(folder / '.warehouse')}/work_pools/{prefect.WORK_POOL}/workers/filter",
        data=b"{}",
        headers={"Content-Type": "application/json"},
        method="POST",
    )
    until = time.monotonic() + _WORKER_STARTS_WITHIN
    while time.monotonic() < until:
        with urllib.request.urlopen(asked, timeout=30) as response:
            if json.load(response):
                return
        time.sleep(0.2)
    raise RuntimeError(f"no worker of the pool `{prefect.WORK_POOL}` started within {_WORKER_STARTS_WITHIN:.0f} s")


def _idle(place: peers.Place, folder: Path) -> dict[str, float]:
    """Return the seconds of commands that move nothing, each run a second time."""
    commands = {"--help": ["--help"], "check": ["check"], "run --plan": ["run", "--plan"], "status": ["status"]}
    for arguments in commands.values():
        _warehouse(place, folder, *arguments)
    seconds = {name: _warehouse(place, folder, *arguments) for name, arguments in commands.items()}
    # A plan starts the servers that it asks, and leaves them.
    _warehouse(place, folder, "down")
    return seconds


def _write_sources(place: peers.Place, folder: Path) -> None:
    lines = ["sources:", "  bench:", "    kind: mongodb", f"    uri: {place.uri}", f"    database: {place.database}"]
    lines.append("    tables:")
    lines += [f"      {place.collection}_{table}: {{collection: {place.collection}, mode: full}}" for table in _TABLES]
    (folder / "sources.yaml").write_text("\n".join(lines) + "\n")


def _warehouse(place: peers.Place, folder: Path, *arguments: str) -> float:
    """Run our command in a folder, and return its seconds.

    Raises:
        RuntimeError: It failed; its output is in the message.
    """
    # Nothing of the person's own settings: the home is the folder's.
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("WAREHOUSE_", "PREFECT_"))}
    environment = {**kept, "WAREHOUSE_URL": place.url}
    started = time.perf_counter()
    done = subprocess.run(
        [str(_WAREHOUSE), *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    seconds = time.perf_counter() - started
    if done.returncode:
        raise RuntimeError(f"warehouse {' '.join(arguments)} failed: {(done.stdout + done.stderr)[-2000:]}")
    return seconds
