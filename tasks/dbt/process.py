"""The process in which dbt runs, from outside: it is started early, parses while data moves, and then takes commands.

dbt keeps global state and threads that outlive a timeout, so it gets a process of its own, ended by SIGINT: dbt then
cancels its queries.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, TracebackType
from typing import IO, Any

from tasks.dbt.project import Project
from tasks.errors import DbtError, WarehouseUnreachable, redact

_ROOT = Path(__file__).resolve().parent.parent.parent
_RUNS_KEPT = 5
_PARSED = "partial_parse.msgpack"
_SECONDS_TO_CANCEL = 30.0
_MESSAGES_KEPT = 40
_UNREACHABLE = ("connection refused", "could not connect", "connection to server", "could not translate host name")


@dataclass
class DbtProcess:
    """One dbt process with a parsed project; it ends with the `with` block.

    Attributes:
        project: What it parses.
        env: Its environment, with what the profile reads.
        target: Folder for the artifacts of this process alone.
        variables: dbt vars.
        progress: Called with each line that dbt logs for people.
        deadline_seconds: After this time a command is interrupted.
    """

    project: Project
    env: Mapping[str, str]
    target: Path
    variables: Mapping[str, Any] = field(default_factory=dict)
    progress: Callable[[str], None] = lambda line: None
    deadline_seconds: float = 7_200
    _messages: list[str] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        """Start the process: it imports dbt and parses at once, whether or not somebody waits for it yet."""
        answers, theirs = os.pipe()
        # "-P" keeps the working directory off the import path: a folder called dbt there must not hide the package.
        program = [sys.executable, "-P", "-m", "tasks.dbt_worker", str(theirs)]
        env = {**self.env, "PYTHONPATH": os.pathsep.join(filter(None, (str(_ROOT), self.env.get("PYTHONPATH"))))}
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter, no shell
                program,
                env=env,
                cwd=self.project.folder,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(theirs,),
                # A session of its own: a Ctrl-C of the terminal reaches dbt once, through us.
                start_new_session=True,
            )
        finally:
            os.close(theirs)
        self._answers = os.fdopen(answers, "rb")
        self._reader = threading.Thread(target=self._follow, daemon=True)
        self._reader.start()
        arguments = [*self.project.arguments(self.target), *_vars(self.variables)]
        self._send({"do": "parse", "arguments": arguments, "deps": self.project.needs_deps})
        self._parsed: Mapping[str, Any] | None = None

    def __enter__(self) -> DbtProcess:
        """Return the process."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the process."""
        self.close()

    def close(self) -> None:
        """End the process; a command that runs is cancelled."""
        with contextlib.suppress(OSError):
            _open(self._process.stdin).close()
        try:
            self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            _interrupt(self._process)
        self._reader.join(timeout=10)
        self._answers.close()

    def parsed(self) -> Mapping[str, Any]:
        """Return the parsed project as `Graph.from_json` takes it; waits until it is there.

        Raises:
            DbtError: The project does not parse.
        """
        if self._parsed is None:
            self._parsed = self._answer()
        return self._parsed["graph"]  # type: ignore[no-any-return]

    def select(self, select: Sequence[str], exclude: Sequence[str]) -> list[str]:
        """Return the unique ids of what dbt selectors name.

        Raises:
            DbtError: dbt does not understand a selector.
        """
        self.parsed()
        self._send({"do": "select", "select": list(select), "exclude": list(exclude)})
        return list(self._answer()["ids"])

    def build(self, nodes: Sequence[str], aside: Mapping[str, str], arguments: Sequence[str] = ()) -> int:
        """Build and test nodes and return dbt's exit code.

        Args:
            nodes: Unique ids.
            aside: Schema in which a node is built instead of its own, by unique id.
            arguments: Further arguments of dbt.
        """
        self.parsed()
        self._send({"do": "build", "nodes": list(nodes), "aside": dict(aside), "arguments": list(arguments)})
        return int(self._answer()["exit_code"])

    def write_manifest(self) -> None:
        """Write dbt's manifest into the target; `build` does so too."""
        self.parsed()
        self._send({"do": "write_manifest"})
        self._answer()

    def command(self, arguments: Sequence[str]) -> int:
        """Run any other dbt command on the parsed project and return its exit code."""
        self.parsed()
        self._send({"do": "command", "arguments": list(arguments)})
        return int(self._answer()["exit_code"])

    def _send(self, message: Mapping[str, Any]) -> None:
        stdin = _open(self._process.stdin)
        try:
            stdin.write(json.dumps(message).encode() + b"\n")
            stdin.flush()
        except OSError:
            raise self.ended(self._process.wait()) from None

    def _answer(self) -> dict[str, Any]:
        """Wait for the answer to what was sent last."""
        found: list[bytes] = []
        waiting = threading.Thread(target=lambda: found.append(self._answers.readline()), daemon=True)
        with _terminable():
            try:
                waiting.start()
                waiting.join(self.deadline_seconds)
            except BaseException:
                _interrupt(self._process)
                raise
        if waiting.is_alive():
            _interrupt(self._process)
            raise DbtError(
                f"dbt was interrupted after {self.deadline_seconds:.0f} s", str(self.target), "look for the slow model"
            )
        if not found[0]:
            raise self.ended(self._process.wait())
        answer: dict[str, Any] = json.loads(found[0])
        # A code beside 0 and 1 is dbt's own failure, not that of a node.
        if answer.get("exit_code") not in (None, 0, 1):
            self._messages += filter(None, [redact(answer.get("error", ""))])
            raise self.ended(answer["exit_code"])
        return answer

    def _follow(self) -> None:
        for raw in _open(self._process.stdout):
            line = redact(raw.decode(errors="replace").rstrip())
            if line:
                self._messages.append(line)
                del self._messages[:-_MESSAGES_KEPT]
                self.progress(line)

    def ended(self, exit_code: int) -> DbtError | WarehouseUnreachable:
        """Return the error for a command that ended with a code and no failed node to explain it."""
        self._reader.join(timeout=1)
        return crash(exit_code, self._messages, self.target)


def crash(exit_code: int, messages: Sequence[str], target: Path) -> DbtError | WarehouseUnreachable:
    """Return the error for a dbt that ended by itself: the server that is not there, else dbt's last words."""
    text = "\n".join(messages)
    if any(sign in text.lower() for sign in _UNREACHABLE):
        said = next(line for line in messages if any(sign in line.lower() for sign in _UNREACHABLE))
        return WarehouseUnreachable(f"dbt cannot connect: {said.strip()}", "WAREHOUSE_URL", "start or correct it")
    log = str(target / "logs" / "dbt.log")
    return DbtError(f"dbt ended with code {exit_code}:\n{text}", log, "see the message above")


def fresh_target(folder: Path) -> Path:
    """Make the folder of this run's artifacts and forget all but the newest few of earlier runs."""
    folder.mkdir(parents=True, exist_ok=True)
    earlier = sorted(folder.glob("run-*"), key=lambda path: path.stat().st_mtime)
    target = Path(tempfile.mkdtemp(prefix="run-", dir=folder.resolve()))
    for old in reversed(earlier):
        if (old / _PARSED).exists():
            # Spares parsing what has not changed; dbt checks that it still fits.
            shutil.copyfile(old / _PARSED, target / _PARSED)
            break
    for old in earlier[: -_RUNS_KEPT + 1]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def _open(stream: IO[bytes] | None) -> IO[bytes]:
    if stream is None:
        raise ValueError("the process was started without this pipe")
    return stream


def _vars(variables: Mapping[str, Any]) -> list[str]:
    return ["--vars", json.dumps(dict(variables), sort_keys=True)] if variables else []


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Turn SIGTERM into an exception while dbt runs, so that it is interrupted and not orphaned."""
    ours = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL

    def stop(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    if ours:
        signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _interrupt(process: subprocess.Popen[bytes]) -> None:
    """End dbt the way in which it cancels its queries; by force when it does not."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(timeout=_SECONDS_TO_CANCEL)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
