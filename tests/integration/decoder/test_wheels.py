"""`make native` without Rust: the decoder from a release's wheel, checked by its hash, or a word of what decodes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
HERE, ELSEWHERE = "py3-none-any", "cp311-abi3-win_arm64"
DRIVER = "the driver decodes, 27 thousand documents a second"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What `make` reads of a checkout, set up but for the decoder."""
    from uv import find_uv_bin

    place = tmp_path / "checkout"
    (place / "dist").mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, place)
    shutil.copytree(ROOT / "requirements", place / "requirements")
    subprocess.run([find_uv_bin(), "venv", "--quiet", "--python", sys.executable, place / ".venv"], check=True)
    (place / ".venv/bin/uv").symlink_to(find_uv_bin())
    for stamp in ("venv", "demo"):
        (place / f".venv/.stamp-{stamp}").touch()
    return place


def make(checkout: Path, *arguments: str) -> str:
    """Run `make native` where no Rust toolchain is found; return what it says."""
    folders = os.environ["PATH"].split(os.pathsep)
    path = os.pathsep.join(folder for folder in folders if not (Path(folder) / "cargo").exists())
    done = subprocess.run(
        ["make", "--silent", "native", *arguments],
        cwd=checkout,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def installed(checkout: Path) -> str:
    """Return what the environment's `warehouse_native` says of itself, "" where there is none."""
    program = "import warehouse_native; print(warehouse_native.SAYS)"
    done = subprocess.run([checkout / ".venv/bin/python", "-c", program], cwd="/", capture_output=True, text=True)
    return done.stdout.strip()


def release(folder: Path, tags: str = HERE, says: str = "built elsewhere") -> Path:
    """Write a release with one wheel and its hash list; return the wheel."""
    folder.mkdir(exist_ok=True)
    wheel = folder / f"warehouse_native-0.1.0-{tags}.whl"
    info = "warehouse_native-0.1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("warehouse_native.py", f"SAYS = {says!r}\n")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: warehouse-native\nVersion: 0.1.0\n")
        archive.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tags}\n")
        archive.writestr(f"{info}/RECORD", "")
    subprocess.run([sys.executable, ROOT / "decoder/lock_wheels.py", folder], check=True, capture_output=True)
    return wheel


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder, and the address where a plain web server lists it."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_wheel_in_dist_is_found_by_itself(checkout: Path) -> None:
    release(checkout / "dist")
    assert "setup: installed the native decoder from dist" in make(checkout)
    assert installed(checkout) == "built elsewhere"


def test_a_release_is_taken_from_a_folder_or_an_address(
    checkout: Path, tmp_path: Path, served: tuple[Path, str]
) -> None:
    release(tmp_path / "release", says="from a folder")
    make(checkout, f"WHEELS={tmp_path / 'release'}")
    assert installed(checkout) == "from a folder"
    folder, url = served
    release(folder, says="from an address")
    make(checkout, f"WHEELS={url}")
    assert installed(checkout) == "from an address"


def test_a_wheel_that_is_not_the_one_in_the_hash_list_is_not_installed(checkout: Path, tmp_path: Path) -> None:
    listed = release(tmp_path / "release").with_name("native.lock").read_text()
    release(tmp_path / "release", says="somebody else's").with_name("native.lock").write_text(listed)
    said = make(checkout, f"WHEELS={tmp_path / 'release'}")
    assert "Hash mismatch" in said and DRIVER in said
    assert installed(checkout) == ""


def test_where_no_wheel_fits_the_driver_decodes_and_that_is_said(checkout: Path, tmp_path: Path) -> None:
    assert DRIVER in make(checkout) and "no wheel" in make(checkout)
    release(tmp_path / "release", ELSEWHERE)
    said = make(checkout, f"WHEELS={tmp_path / 'release'}")
    # uv breaks its lines by the width of the terminal.
    assert "no wheels with a matching platform tag" in " ".join(said.split()) and DRIVER in said
    assert installed(checkout) == ""


def test_a_hash_list_is_of_one_version(tmp_path: Path) -> None:
    wheel = release(tmp_path / "release")
    shutil.copy(wheel, wheel.with_name(wheel.name.replace("0.1.0", "0.0.9")))
    done = subprocess.run(
        [sys.executable, ROOT / "decoder/lock_wheels.py", wheel.parent], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "wheels of 2 versions" in done.stderr and "to do: remove the older wheels" in done.stderr
