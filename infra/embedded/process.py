"""Background servers of one folder: started detached, found again later, and stopped only when they are ours."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from tasks.errors import WarehouseError

Progress = Callable[[str], None]
"""Called with one short line for each step."""

# The clock that a process's start time is computed from may be adjusted meanwhile, so starts are compared within this.
_START_TOLERANCE_SECONDS = 2.0
_POLL_SECONDS = 0.05
_LOG_TAIL_LINES = 12
_READY_SECONDS = 60.0
# Another process may take a port between the moment when it is chosen and that when the server has it.
_ATTEMPTS = 3


class EmbeddedError(WarehouseError):
    """An embedded server could not be started, stopped or found."""


@dataclass(frozen=True)
class Record:
    """What is remembered of a started server, in `server.json`.

    Attributes:
        port: TCP port on 127.0.0.1; kept when the server is down, to be tried first next time.
        pid: Process id, 0 when stopped.
        started: Start time of the process in seconds since the epoch, so that a reused pid is not taken for ours.
    """

    port: int = 0
    pid: int = 0
    started: float = 0.0


@dataclass(frozen=True)
class Status:
    """State of one embedded server.

    Attributes:
        name: Name that people see.
        running: Whether the process that we started is alive.
        url: Address without credentials, empty when stopped.
        pid: Process id, 0 when stopped.
        log: Log file.
    """

    name: str
    running: bool
    url: str
    pid: int
    log: Path


def silent(_: str) -> None:
    """Report no progress."""


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, so that two commands never start or stop the same server at once."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def read_record(folder: Path, name: str = "server") -> Record:
    """Return what is remembered of the folder's server; an unreadable record counts as none."""
    try:
        return Record(**json.loads((folder / f"{name}.json").read_text()))
    except (OSError, ValueError, TypeError):
        return Record()


def write_record(folder: Path, record: Record, name: str = "server") -> None:
    """Write the record atomically: a reader sees the old or the new one."""
    temporary = folder / f"{name}.json.new"
    temporary.write_text(json.dumps(asdict(record)))
    temporary.replace(folder / f"{name}.json")


def running(pid: int) -> bool:
    """Return whether the process runs; one that ended but was not collected by its parent does not."""
    import psutil

    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def alive(record: Record) -> bool:
    """Return whether the recorded process still runs, and is the one that was started."""
    if not record.pid:
        return False
    import psutil

    with contextlib.suppress(psutil.NoSuchProcess):
        started = psutil.Process(record.pid).create_time()
        return abs(started - record.started) < _START_TOLERANCE_SECONDS and running(record.pid)
    return False


def port_free(port: int) -> bool:
    """Return whether a server could listen on the port of 127.0.0.1 now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: a port whose connections are in TIME_WAIT is free, one with a listener is not.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def choose_port(remembered: int) -> int:
    """Return the remembered port while it is free, else any free one."""
    if remembered and port_free(remembered):
        return remembered
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def without_settings() -> dict[str, str]:
    """Return the environment without the warehouse's own settings, for servers that need no secret of ours."""
    return {name: value for name, value in os.environ.items() if not name.startswith("WAREHOUSE_")}


def spawn(
    command: Sequence[str],
    folder: Path,
    port: int,
    *,
    name: str = "server",
    user: int | None = None,
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Start a command detached (own session, no terminal), log into `<name>.log` and remember it in `<name>.json`.

    Args:
        command: Program and arguments.
        folder: Where log and record go.
        port: Port to remember.
        name: Stem of log and record.
        user: Numeric user (and group) to run as; None keeps the present one.
        environment: The whole environment of the process; None inherits.
        directory: Working directory; defaults to the folder.

    Returns:
        The started process, so that the caller notices an early end.
    """
    import psutil

    with (folder / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(  # noqa: S603 - fixed programs of our own wheels, no shell
            list(command),
            cwd=directory or folder,
            env=None if environment is None else dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            user=user,
            group=user,
            extra_groups=None if user is None else [],
        )
    started = 0.0
    with contextlib.suppress(psutil.NoSuchProcess):
        started = psutil.Process(process.pid).create_time()
    write_record(folder, Record(port, process.pid, started), name)
    return process


def up(
    folder: Path,
    name: str,
    command: Callable[[int], Sequence[str]],
    answers: Callable[[], bool],
    progress: Progress = silent,
) -> None:
    """Start a server of ours unless it runs and answers, and wait until it does.

    Args:
        folder: Where log and record go, and where it works.
        name: What people know it by.
        command: Program and arguments for a port.
        answers: One real attempt to use it at the port on record.
        progress: Told each step, and how long it has been starting.

    Raises:
        EmbeddedError: With the log's tail when it does not come up.
    """
    with locked(folder):
        if alive(read_record(folder)) and answers():
            return
        stop(folder)
        progress(f"{name}: starting")
        for _ in range(_ATTEMPTS):
            port = choose_port(read_record(folder).port)
            started = spawn(command(port), folder, port, environment=without_settings())
            if wait_ready(
                partial(_lives, started), answers, _READY_SECONDS, lambda waited: progress(f"{name}: {waited}")
            ):
                return
            stop(folder)
    raise EmbeddedError(
        f"{name} did not start:\n{log_tail(folder / 'server.log')}",
        str(folder / "server.log"),
        "mend what the log says, or start afresh with `warehouse down --wipe` (deletes the embedded data)",
    )


def wait_ready(process_alive: Callable[[], bool], ready: Callable[[], bool], seconds: float, tick: Progress) -> bool:
    """Wait until `ready` answers; False when the process ended or the time is over.

    Args:
        process_alive: Tells whether waiting still makes sense.
        ready: One real attempt to use the server.
        seconds: Longest wait.
        tick: Told the seconds waited so far, every ten seconds.
    """
    begin = time.monotonic()
    told = 0
    while time.monotonic() - begin < seconds:
        if ready():
            return True
        if not process_alive():
            return False
        waited = int(time.monotonic() - begin)
        if waited >= told + 10:
            told = waited
            tick(f"{waited} s")
        time.sleep(_POLL_SECONDS)
    return False


def stop(folder: Path, *, name: str = "server", graceful: signal.Signals = signal.SIGTERM, seconds: float = 20) -> bool:
    """Stop the recorded process with `graceful`, then by force; True when one was running.

    The port stays remembered. A pid that now belongs to another process is left alone.
    """
    import psutil

    record = read_record(folder, name)
    running = alive(record)
    if running:
        with contextlib.suppress(psutil.NoSuchProcess):
            _terminate(psutil.Process(record.pid), graceful, seconds)
    if record.pid:
        write_record(folder, Record(port=record.port), name)
    return running


def down(folder: Path, *, wipe: bool, graceful: signal.Signals = signal.SIGTERM) -> bool:
    """Stop the folder's server if it is ours and runs; with `wipe` also remove its data. True when one was stopped."""
    if not folder.exists():
        return False
    with locked(folder):
        stopped = stop(folder, graceful=graceful)
        if wipe:
            shutil.rmtree(folder, ignore_errors=True)
    return stopped


def status(folder: Path, name: str, address: str, *, stem: str = "server") -> Status:
    """Return the state of a server without starting it.

    Args:
        folder: Its folder.
        name: Name that people see.
        address: Its address without credentials, or what it works on; `{port}` stands for the port.
        stem: Stem of its record and log.
    """
    record = read_record(folder, stem)
    running = alive(record)
    found = address.format(port=record.port) if running else ""
    return Status(name, running, found, record.pid if running else 0, folder / f"{stem}.log")


def _lives(process: subprocess.Popen[bytes]) -> bool:
    return process.poll() is None


def _terminate(process: object, graceful: signal.Signals, seconds: float) -> None:
    import psutil

    assert isinstance(process, psutil.Process)  # noqa: S101 - for the type checker: psutil is imported late
    family = process.children(recursive=True)
    process.send_signal(graceful)
    try:
        process.wait(timeout=seconds)
    except psutil.TimeoutExpired:
        process.kill()
        process.wait(timeout=5)
    # A server's own helpers normally end with it; what survives its parent would hold ports and files.
    _, left = psutil.wait_procs(family, timeout=3)
    for child in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()


def log_tail(path: Path) -> str:
    """Return the last lines of a log, where the reason of a failed start is found."""
    try:
        return "\n".join(path.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:])
    except OSError:
        return ""


def private_file(path: Path, text: str) -> None:
    """Write a secret readable by its owner alone, from its first moment on."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as handle:
        handle.write(text)
