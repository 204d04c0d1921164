"""The product as a wheel, in an environment of its own and a folder elsewhere."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def _run(*command: str | Path, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    env = {
        name: value for name, value in os.environ.items() if not name.startswith(("WAREHOUSE_", "PREFECT_", "PYTHON"))
    }
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, env={**env, **variables}, capture_output=True, text=True
    )
    if done.returncode:
        print(done.stdout[-3000:], done.stderr[-3000:])
    return done


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    done = _run(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder, cwd=ROOT)
    assert done.returncode == 0
    [made] = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the locked packages, from the cache that setting up this one has filled, and the wheel."""
    from uv import find_uv_bin

    uv = find_uv_bin()
    folder = tmp_path_factory.mktemp("environment") / "venv"
    assert _run(uv, "venv", "--quiet", "--python", sys.executable, folder, cwd=ROOT).returncode == 0
    install = (uv, "pip", "install", "--quiet", "--offline", "--python", folder, "--no-deps")
    assert _run(*install, "--require-hashes", "-r", ROOT / "requirements/demo.lock", cwd=ROOT).returncode == 0
    assert _run(*install, wheel, cwd=ROOT).returncode == 0
    return folder


def test_the_wheel_holds_every_file_of_the_product(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    tracked = subprocess.run(
        ["git", "ls-files", "flows", "tasks", "monitoring", "infra", "dbt", "prefect.yaml", "sources.yaml"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    packages = ("flows/", "tasks/", "monitoring/", "infra/")
    expected = {name if name.startswith(packages) else f"tasks/files/{name}" for name in tracked}
    assert expected - inside == set()
    assert not any(name.startswith("dbt/") for name in inside), "that is where dbt's own package lies"
    assert "warehouse_command.py" in inside


def test_the_demo_runs_from_a_folder_elsewhere(environment: Path, tmp_path: Path) -> None:
    command = environment / "bin/warehouse"
    assert "demo" in _run(command, "--help", cwd=tmp_path).stdout
    program = (
        "from flows.demo import run_demo; from tasks.settings import get_settings; "
        "raise SystemExit(run_demo(get_settings(), 60))"
    )
    try:
        demo = _run(environment / "bin/python", "-P", "-c", program, cwd=tmp_path)
        assert demo.returncode == 0
        assert "DIFFERENT" not in demo.stdout
        found = _run(command, "sql", "select count(*) > 0 from gold.fct_order", cwd=tmp_path)
        assert found.returncode == 0 and "t" in found.stdout
        own = tmp_path / "own"
        written = _run(
            environment / "bin/python",
            "-P",
            "-c",
            f"from pathlib import Path; from tasks.dbt.company import write_project; write_project(Path({str(own)!r}))",
            cwd=tmp_path,
        )
        assert written.returncode == 0
        # Its packages come from the wheel's folder, without a network.
        built = _run(command, "dbt", "build", cwd=tmp_path, WAREHOUSE_DBT=str(own))
        assert built.returncode == 0
    finally:
        _run(command, "down", "--wipe", cwd=tmp_path)


@pytest.mark.parametrize("name", ["flows", "tasks", "monitoring", "infra"])
def test_a_package_that_hides_ours_is_named_first(environment: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("raise RuntimeError('imported')")
    done = _run(environment / "bin/warehouse", "--help", cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: the package `{name}` of the warehouse is hidden by {tmp_path / name}")
