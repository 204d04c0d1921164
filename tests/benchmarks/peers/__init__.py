"""The peers, each by its own command in an environment of its own, from the same server into the same one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks.measure import Measure, compile_bytecode

_HERE = Path(__file__).parent
_LOCKS = Path(__file__).parents[3] / "requirements"


@dataclass(frozen=True)
class Place:
    """Where a peer reads and writes."""

    uri: str
    database: str
    collection: str
    url: str


def environment(peer: str, folder: Path) -> Path:
    """Make a peer's environment from its lock, once, and return its bin folder."""
    home = folder / peer
    binaries = home / "bin"
    stamp = home / "installed"
    if not stamp.exists():
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
        install = ["uv", "pip", "install", "--quiet", "--python", str(binaries / "python"), "--require-hashes"]
        command = [sys.executable, "-m", *install, "-r", str(_LOCKS / f"peer-{peer}.lock")]
        subprocess.run(command, check=True)
        stamp.touch()
    # All environments are of this interpreter.
    compile_bytecode(home / "lib")
    return binaries


def run_dlt(binaries: Path, place: Place, file_format: str) -> Measure:
    """Run dlt with one of its file formats."""
    arguments = [*_arguments(place), f"dlt_{file_format}", file_format]
    return _run(f"dlt {file_format}", [str(binaries / "python"), str(_HERE / "dlt_load.py"), *arguments], place)


def run_pandas(binaries: Path, place: Place) -> Measure:
    """Run pandas `to_sql`."""
    arguments = [*_arguments(place), "pandas"]
    return _run("pandas", [str(binaries / "python"), str(_HERE / "pandas_load.py"), *arguments], place)


def run_sling(binaries: Path, place: Place, folder: Path) -> Measure:
    """Run sling with flattened columns, its bulk load being the default."""
    config = folder / "sling.json"
    replication = {
        "source": "BENCH_MONGODB",
        "target": "BENCH_POSTGRES",
        "defaults": {"mode": "full-refresh", "object": "sling.{stream_table}", "source_options": {"flatten": True}},
        "streams": {f"{place.database}.{place.collection}": {}},
    }
    config.write_text(json.dumps(replication))
    found = next(binaries.parent.glob("lib/python*/site-packages/sling_linux_amd64/bin/sling-linux-amd64"))
    found.chmod(0o755)
    variables = {
        "BENCH_MONGODB": place.uri,
        "BENCH_POSTGRES": f"{place.url}?sslmode=disable",
        "SLING_HOME_DIR": str(folder / "sling-home"),
    }
    return _run("sling", [str(found), "run", "-r", str(config)], place, variables)


def _arguments(place: Place) -> list[str]:
    return [place.uri, place.database, place.collection, place.url]


def _run(name: str, command: list[str], place: Place, variables: dict[str, str] | None = None) -> Measure:
    """Run a peer's command; seconds are its own where it tells them, else the process's, kept as `whole`."""
    started = time.perf_counter()
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **(variables or {})},
    ) as process:
        assert process.stdout is not None
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - started
    if process.returncode:
        raise RuntimeError(f"{name} failed: {output[-1500:]}")
    said: dict[str, Any] = json.loads(output.splitlines()[-1]) if output.rstrip().endswith("}") else {}
    rows = int(place.collection.rsplit("_", 1)[1])
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    cpu = round(usage.ru_utime + usage.ru_stime, 2)
    return Measure(name, rows, said.get("seconds", seconds), peak, cpu, {"whole": seconds})
