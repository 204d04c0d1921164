"""One command of a connector: a process of its own whose time, memory and lines are bounded, and that ends with us."""

from __future__ import annotations

import os
import resource
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from tasks.errors import SourceError

MAX_LINE_BYTES = 8 << 20
"""A longer line is no record that anybody could load."""

# Folders in memory, so that no credentials come onto a disk.
_IN_MEMORY = Path("/dev/shm")  # noqa: S108  the folder that is made in it is its owner's alone
_CHUNK = 1 << 16
_LOOK_SECONDS = 0.25
_ERROR_BYTES = 1 << 14
# Above the memory limit that is looked at, the kernel gives no more: for what grows faster than we look.
_CEILING = 1 << 30
# All that a connector sees of our environment: nothing of the warehouse, of Prefect or of a cloud.
_PASSED = (
    "PATH",
    "LANG",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_FILE",
)
# Older connectors know no other certificates than those of their own packages, whatever the environment says.
_TRUST = """
import os
try:
    import certifi
except ImportError:
    pass
else:
    certifi.where = lambda: os.environ["REQUESTS_CA_BUNDLE"]
"""
# Ends the connector together with us, then becomes it. In place of `preexec_fn`, which is unsafe among threads.
_BEGIN = """
import os, resource, sys
parent, ceiling, *command = sys.argv[1:]
if sys.platform == "linux":
    import ctypes
    ctypes.CDLL(None).prctl(1, 9)
    resource.setrlimit(resource.RLIMIT_DATA, (int(ceiling), int(ceiling)))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
if os.getppid() != int(parent):
    sys.exit(1)
os.execv(command[0], command)
"""


class ConnectorFailed(SourceError):
    """A connector ended wrongly, broke its limits or did not keep the protocol; nothing that it said counts."""


@dataclass(frozen=True)
class Limits:
    """What a connector may use.

    Attributes:
        seconds: From its start to its end.
        silence: Seconds in which it says nothing at all.
        memory_bytes: Of it and its own processes, looked at four times a second.
    """

    seconds: float = 7_200.0
    silence: float = 900.0
    memory_bytes: int = 1 << 30


class Process:
    """A running command; leaving the context ends it, whatever it does.

    Args:
        command: Program and arguments; an argument that is the name of one of `files` becomes its path.
        files: By name the text of files that it is given, in a folder that is deleted when it ends.
        limits: What it may use.
        where: The source, for messages.

    Raises:
        ConnectorFailed: It cannot be started.
    """

    def __init__(self, command: Sequence[str], files: Mapping[str, str], limits: Limits, where: str) -> None:
        self._limits, self._where = limits, where
        self._folder = tempfile.TemporaryDirectory(
            prefix="warehouse-connector-", dir=_IN_MEMORY if os.access(_IN_MEMORY, os.W_OK) else None
        )
        self.bytes = 0
        self._errors = b""
        self._started = time.monotonic()
        self._looked = 0.0
        try:
            self._process = self._start(command, files)
        except BaseException:
            self._folder.cleanup()
            raise

    def _start(self, command: Sequence[str], files: Mapping[str, str]) -> subprocess.Popen[bytes]:
        folder = Path(self._folder.name)
        for name, text in files.items():
            descriptor = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
        given = [str(folder / part) if part in files else part for part in command]
        if not os.access(given[0], os.X_OK):
            raise ConnectorFailed(
                f"{given[0]} is no program", self._where, "install the connector, or correct the path"
            )
        limits = [str(os.getpid()), str(self._limits.memory_bytes + _CEILING)]
        environment = {name: os.environ[name] for name in _PASSED if name in os.environ}
        if environment.get("REQUESTS_CA_BUNDLE"):
            (folder / "sitecustomize.py").write_text(_TRUST)
            environment["PYTHONPATH"] = str(folder)
        return subprocess.Popen(  # noqa: S603 - what the catalogue or sources.yaml names, no shell
            [sys.executable, "-I", "-S", "-c", _BEGIN, *limits, *given],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=folder,
            env={**environment, "HOME": str(folder), "TMPDIR": str(folder), "TZ": "UTC", "PYTHONUNBUFFERED": "1"},
            start_new_session=True,
        )

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the process with all that it has started, and delete its files."""
        # Its children may live when it does not.
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()
        self._folder.cleanup()

    @property
    def said(self) -> str:
        """The last of what it wrote to its standard error."""
        return self._errors.decode(errors="replace").strip()

    def lines(self) -> Iterator[bytes]:
        """Yield what it writes, line by line, until it closes its output.

        Raises:
            ConnectorFailed: It took too long, said nothing for too long, or took too much memory; a line is too long,
                or the last one was cut off.
        """
        rest = bytearray()
        for chunk in self._chunks():
            self.bytes += len(chunk)
            first, *others = chunk.split(b"\n")
            rest += first
            for other in others:
                if rest.strip():
                    yield bytes(rest)
                rest = bytearray(other)
            if len(rest) > MAX_LINE_BYTES:
                raise self._failed(f"it wrote a line of more than {MAX_LINE_BYTES >> 20} MiB")
        if rest.strip():
            raise self._failed("its last line is cut off")

    def end(self) -> int:
        """Wait until it has ended, and return its exit code: less than 0 is a signal.

        Raises:
            ConnectorFailed: It closed its output and did not end.
        """
        try:
            return self._process.wait(timeout=min(self._limits.silence, self._left()))
        except subprocess.TimeoutExpired:
            raise self._failed("it has said all and does not end") from None

    def _chunks(self) -> Iterator[bytes]:
        """Yield what comes on its output, while its errors are kept and its limits are looked after."""
        process = self._process
        assert process.stdout is not None and process.stderr is not None  # noqa: S101  both are pipes
        with selectors.DefaultSelector() as selector:
            for stream in (process.stdout, process.stderr):
                selector.register(stream, selectors.EVENT_READ)
            quiet = 0.0
            while selector.get_map():
                self._look(quiet)
                began = time.monotonic()
                ready = selector.select(_LOOK_SECONDS)
                # Only time in which we listened: while we work on what it said, it may have to wait for us.
                quiet = 0.0 if ready else quiet + time.monotonic() - began
                for key, _ in ready:
                    chunk = os.read(key.fd, _CHUNK)
                    if not chunk:
                        selector.unregister(key.fileobj)
                    elif key.fileobj is process.stdout:
                        yield chunk
                    else:
                        self._errors = (self._errors + chunk)[-_ERROR_BYTES:]

    def _look(self, quiet: float) -> None:
        """Raise where a limit is broken."""
        now = time.monotonic()
        if now - self._looked < _LOOK_SECONDS:
            return
        self._looked = now
        if self._left() <= 0:
            raise self._failed(f"it took longer than {self._limits.seconds:g} s")
        if quiet > self._limits.silence:
            raise self._failed(f"it said nothing for {self._limits.silence:g} s")
        used = memory(self._process.pid)
        if used > self._limits.memory_bytes:
            raise self._failed(
                f"it took {used >> 20} MiB of memory, {self._limits.memory_bytes >> 20} MiB are its limit"
            )

    def _left(self) -> float:
        return self._started + self._limits.seconds - time.monotonic()

    def _failed(self, what: str) -> ConnectorFailed:
        return ConnectorFailed(
            f"the connector was stopped: {what}", self._where, "raise its `limits` where it needs more"
        )


def memory(pid: int) -> int:
    """Return the bytes that a process and its descendants hold; 0 where the system does not tell (not Linux)."""
    process = Path(f"/proc/{pid}")
    try:
        pages = int((process / "statm").read_text().split()[1])
        children = (process / f"task/{pid}/children").read_text().split()
    except (OSError, IndexError):
        return 0
    return pages * resource.getpagesize() + sum(memory(int(child)) for child in children)
