"""The environments of connectors: each in a folder of its own, with exactly the packages of its lock."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from tasks.connectors import catalogue
from tasks.connectors.process import Limits, Process
from tasks.errors import ConfigError, WarehouseError
from tasks.settings import get_settings

# What an environment holds is known once this file stands in it, which is written last.
_RECORD = "connector.json"
_INSTALL_SECONDS = 1_800
_SPEC = Limits(seconds=300, silence=300)
_SHOWN = 2_000


class InstallFailed(WarehouseError):
    """A connector could not be installed; what was begun is deleted."""


@dataclass(frozen=True)
class Installed:
    """What was installed.

    Attributes:
        name: Of the connector.
        version: Of its package.
        lock: Digest of the lock.
        spec: Digest of what the connector says of its configuration.
    """

    name: str
    version: str
    lock: str
    spec: str


def installed(name: str) -> Installed | None:
    """Return what is installed of a connector by the lock of this version of the product; None where nothing is."""
    try:
        return Installed(**json.loads((_folder(name) / _RECORD).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def program(name: str) -> Path:
    """Return the program of an installed connector.

    Raises:
        ConfigError: It is refused, or not installed.
    """
    entry = catalogue.entries()[name]
    if entry.grade == "refused":
        raise ConfigError(f"the connector {name} is refused: {entry.reason}", name, "read this source in another way")
    if installed(name) is None:
        raise ConfigError(
            f"the connector {name} is not installed", str(_folder(name)), f"run `warehouse connectors install {name}`"
        )
    return _folder(name) / "bin" / entry.program


def install(name: str) -> Installed:
    """Install a connector where it is not, every package by its hash.

    Raises:
        ConfigError: It is unknown or refused, or this Python is none that it was made for.
        InstallFailed: A package cannot be fetched, has another hash, or the connector does not start.
    """
    if name not in catalogue.entries():
        raise ConfigError(f"the catalogue has no connector {name!r}", name, "see `warehouse connectors list`")
    entry = catalogue.entries()[name]
    if entry.grade == "refused":
        raise ConfigError(f"the connector {name} is refused: {entry.reason}", name, "read this source in another way")
    folder = _folder(name)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _alone(folder.parent):
        if (found := installed(name)) is not None:
            return found
        shutil.rmtree(folder, ignore_errors=True)
        try:
            _build(name, entry, folder)
            spec = _spec(name, folder / "bin" / entry.program)
            made = Installed(name, entry.version, _digest(catalogue.lock(name).read_bytes()), _digest(spec))
            (folder / _RECORD).write_text(json.dumps(asdict(made), indent=2) + "\n")
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    return made


def _build(name: str, entry: catalogue.Entry, folder: Path) -> None:
    """Make the environment and put the packages of the lock into it."""
    python = folder / "bin" / "python"
    lock = str(catalogue.lock(name))
    uv = shutil.which("uv", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    if uv:
        # Named, as uv does not look at which versions of Python a package was made for. It must be here: a program from
        # elsewhere is nothing that an installation of packages may bring.
        made = [uv, "venv", "--quiet", "--no-python-downloads", "--python", entry.python, str(folder)]
        _do(made, name, "the environment cannot be made", f"install Python {entry.python} beside this one")
        filled = [uv, "pip", "sync", "--quiet", "--require-hashes", "--compile-bytecode", "--python", str(python), lock]
    else:
        if sys.version_info[:2] != tuple(map(int, entry.python.split("."))):
            raise ConfigError(f"the connector {name} needs Python {entry.python}", name, "install uv, and this Python")
        made = [sys.executable, "-m", "venv", str(folder)]
        _do(made, name, "the environment cannot be made", "install Python's module venv")
        packages = ["--quiet", "--require-hashes", "--no-deps", "--requirement", lock]
        filled = [str(python), "-m", "pip", "install", *packages]
    _do(filled, name, "the packages cannot be installed", "see whether PyPI can be reached")


def _do(command: list[str], name: str, failed: str, advice: str) -> None:
    try:
        done = subprocess.run(  # noqa: S603 - uv or pip with a lock of ours, no shell
            command, capture_output=True, text=True, timeout=_INSTALL_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise InstallFailed(f"{failed}: it took longer than {_INSTALL_SECONDS} s", name, advice) from None
    if done.returncode:
        said = (done.stderr or done.stdout).strip()[-_SHOWN:]
        raise InstallFailed(f"{failed}: {said}", name, advice)


def _spec(name: str, command: Path) -> bytes:
    """Return what the connector says of its configuration: the proof that it starts."""
    with Process([str(command), "spec"], {}, _SPEC, name) as process:
        lines = list(process.lines())
        code, said = process.end(), process.said
    told = [line for line in lines if b'"SPEC"' in line]
    if code or not told:
        raise InstallFailed(f"it is installed and does not start: {said[-_SHOWN:]}", name, "see the connector's issues")
    return told[-1]


def _folder(name: str) -> Path:
    return get_settings().connectors_folder() / name / _digest(catalogue.lock(name).read_bytes())


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let one process at a time install into a folder."""
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
