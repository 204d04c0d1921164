"""Run one step in a process of its own and take its time, peak memory and processor seconds."""

from __future__ import annotations

import compileall
import json
import os
import platform
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Measure:
    """What one step took; `seconds` leaves out interpreter start and imports."""

    step: str
    rows: int
    seconds: float
    peak_bytes: int
    cpu_seconds: float
    detail: dict[str, Any]

    @property
    def rate(self) -> float:
        """Rows per second."""
        return self.rows / self.seconds if self.seconds else 0.0


def compile_bytecode(*folders: Path) -> None:
    """Compile Python files, as a deployed image has them: else modules imported within a step are compiled in it."""
    for folder in folders:
        compileall.compile_dir(folder, maxlevels=30, quiet=2, workers=0)


def run_step(step: str, **arguments: Any) -> Measure:
    """Run `tests.benchmarks.steps` with a step's name and arguments.

    Raises:
        RuntimeError: The step failed; its output is in the message.
    """
    command = [sys.executable, "-m", "tests.benchmarks.steps", step, json.dumps(arguments)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        output, errors = process.stdout.read(), process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{step} failed: {errors[-2000:]}")
    said = json.loads(output.splitlines()[-1])
    return Measure(
        step=step,
        rows=said.pop("rows"),
        seconds=said.pop("seconds"),
        # ru_maxrss is in KiB on Linux, in bytes on macOS.
        peak_bytes=usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
        cpu_seconds=round(usage.ru_utime + usage.ru_stime, 2),
        detail=said,
    )


def machine() -> dict[str, Any]:
    """Return what the figures were taken on."""
    model = ""
    info = Path("/proc/cpuinfo")
    if info.exists():
        model = next((line.split(":")[1].strip() for line in info.read_text().splitlines() if "model name" in line), "")
    return {"system": platform.platform(), "python": platform.python_version(), "cores": os.cpu_count(), "cpu": model}


def save(results: dict[str, Any], folder: Path) -> Path:
    """Write results as JSON, named by time, and return the file."""
    from datetime import UTC, datetime

    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}.json"
    file.write_text(json.dumps(results, indent=1, default=_plain))
    return file


def _plain(item: object) -> object:
    return {**asdict(item), "rate": item.rate} if isinstance(item, Measure) else str(item)
