"""The forked engine: orders, exit codes, and an end without orders."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def run_engine(tmp_path: Path, engine: str, after_fork: str) -> subprocess.CompletedProcess[str]:
    """Fork with a stand-in for prefect.engine and do `after_fork` in the parent."""
    package = tmp_path / "prefect"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "engine.py").write_text(engine)
    script = f"from infra.kubernetes.execute import fork_engine\nengine = fork_engine()\n{after_fork}"
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}", "INHERITED": "old"}
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, timeout=60)


def test_it_runs_with_the_given_environment_and_folder(tmp_path: Path) -> None:
    engine = "import os; print(os.environ['RUN'], 'INHERITED' in os.environ, os.getcwd(), os.getsid(0) == os.getpid())"
    done = run_engine(tmp_path, engine, f"engine.release({{'RUN': 'one'}}, {str(tmp_path)!r})\nprint(engine.wait())")
    assert done.stdout.splitlines() == [f"one False {tmp_path} True", "0"]


@pytest.mark.parametrize(
    ("engine", "code"),
    [
        ("raise SystemExit(3)", 3),
        ("raise SystemExit('no')", 1),
        ("raise SystemExit(None)", 0),
        ("raise KeyError('x')", 1),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -9),
    ],
)
def test_its_exit_code_is_told(tmp_path: Path, engine: str, code: int) -> None:
    done = run_engine(
        tmp_path, engine, "engine.release({}, None)\nprint(engine.wait(), engine.wait(), engine.returncode)"
    )
    assert done.stdout.splitlines()[-1] == f"{code} {code} {code}"


def test_it_ends_quietly_when_the_parent_never_gave_orders(tmp_path: Path) -> None:
    done = run_engine(tmp_path, "print('never')", "import os\nos.close(engine._orders)\nprint(engine.wait())")
    assert done.stdout.splitlines() == ["0"]


def test_only_the_engine_runs_exit_handlers_and_the_rest_of_the_parent_only_once(tmp_path: Path) -> None:
    engine = "import atexit; atexit.register(print, 'engine done')"
    done = run_engine(tmp_path, engine, "engine.release({'A': 'b'}, None)\nengine.wait()\nprint('parent done')")
    assert done.stdout.splitlines() == ["engine done", "parent done"]
