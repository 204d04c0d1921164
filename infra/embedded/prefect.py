"""The embedded Prefect server (SQLite), with a process work pool and a worker, so that deployments run locally too."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TextIO

from infra.embedded import prefect_schema, process
from infra.embedded.process import EmbeddedError, Progress, Status, silent

WORK_POOL = "local"
# Three seconds of work, but minutes on a machine that is busy, or when a new Prefect migrates a long history.
_READY_SECONDS = 300.0
_ATTEMPTS = 2
# The locks by which this process says that its runs use a server.
_held: set[TextIO] = set()


def begin(home: Path, progress: Progress = silent) -> None:
    """Start the server unless its process runs, without waiting until it answers."""
    folder = _folder(home)
    with process.locked(folder):
        if not process.alive(process.read_record(folder)):
            progress("Prefect: starting the server")
            _spawn_server(folder)


def up(home: Path, progress: Progress = silent, *, worker: bool = True) -> str:
    """Start the server (and the worker) unless they run, wait until it answers, and return its API URL.

    Args:
        home: Folder of everything embedded.
        progress: Told each step, and how long the server has been starting.
        worker: Also keep a worker of the process pool `local` running.

    Raises:
        EmbeddedError: With the log's tail when the server does not come up.
    """
    folder = _folder(home)
    begin(home, progress)
    with process.locked(folder):
        for attempt in range(_ATTEMPTS):
            if attempt:
                _spawn_server(folder)
            if _wait(home, progress):
                _known_file(folder).touch()
                break
            process.stop(folder)
        else:
            raise EmbeddedError(
                f"the Prefect server did not start:\n{process.log_tail(folder / 'server.log')}",
                str(folder / "server.log"),
                "mend what the log says, or start afresh with `warehouse down --wipe` (deletes the embedded data)",
            )
        if worker:
            _for_runs(folder).unlink(missing_ok=True)
        if worker and not process.alive(process.read_record(folder, "worker")):
            progress(f"Prefect: starting a worker of the pool `{WORK_POOL}`")
            _ensure_pool(url(home))
            _spawn_worker(folder, url(home))
    return url(home)


@contextlib.contextmanager
def lent(home: Path, progress: Progress = silent, *, keep: bool = False) -> Iterator[None]:
    """Have the server for the time of a run; one that was started for runs is stopped when the last of them ends.

    It is begun, not waited for: its address is known, and what else a run needs is done meanwhile; `up` then waits.

    Args:
        home: Folder of everything embedded.
        progress: Told each step.
        keep: Leave it running afterwards, as `warehouse up` does.
    """
    folder = _folder(home)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "runs.lock").open("w") as users:
        fcntl.flock(users, fcntl.LOCK_SH)
        _held.add(users)
        if keep:
            _for_runs(folder).unlink(missing_ok=True)
        elif not status(home).running:
            _for_runs(folder).touch()
        try:
            begin(home, progress)
            yield
        finally:
            _held.discard(users)
            fcntl.flock(users, fcntl.LOCK_UN)
            if release(home):
                progress("Prefect: stopped the server that was started for this run (--keep leaves it running)")


def abandon(home: Path) -> bool:
    """Give up all that this process was lent, as it ends at once; True when the server was stopped."""
    for users in _held:
        fcntl.flock(users, fcntl.LOCK_UN)
    return release(home)


def release(home: Path) -> bool:
    """Stop a server that runs for runs alone unless another run uses it; True when one was stopped."""
    folder = _folder(home)
    with contextlib.suppress(BlockingIOError, FileNotFoundError), (folder / "runs.lock").open() as users:
        # Another run holds it shared, and ends the server when it ends itself.
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return _for_runs(folder).exists() and down(home)
    return False


def down(home: Path, wipe: bool = False) -> bool:
    """Stop worker and server if they are ours and run; with `wipe` also remove their data."""
    folder = _folder(home)
    if not folder.exists():
        return False
    with process.locked(folder):
        # The worker first: it reports to the server that it goes.
        stopped = process.stop(folder, name="worker")
        stopped = process.stop(folder) or stopped
        _for_runs(folder).unlink(missing_ok=True)
        if wipe:
            shutil.rmtree(folder, ignore_errors=True)
    return stopped


def status(home: Path) -> Status:
    """Return the state of the server without starting it."""
    return process.status(_folder(home), "prefect", "http://127.0.0.1:{port}")


def worker_status(home: Path) -> Status:
    """Return the state of the worker."""
    return process.status(_folder(home), "prefect worker", f"pool {WORK_POOL}", stem="worker")


def url(home: Path) -> str:
    """Return the API URL of the server.

    Raises:
        EmbeddedError: The embedded server has never been started here.
    """
    port = process.read_record(_folder(home)).port
    if not port:
        raise EmbeddedError(
            "the embedded Prefect server has not been started",
            str(_folder(home)),
            "run `warehouse up`, or set PREFECT_API_URL to your server",
        )
    return f"http://127.0.0.1:{port}/api"


def ui_url(home: Path) -> str:
    """Return the address of the user interface."""
    return url(home).removesuffix("/api")


def answers(api_url: str, seconds: float = 2.0) -> bool:
    """Return whether a Prefect server answers its health check at the API URL."""
    try:
        with urllib.request.urlopen(f"{api_url}/health", timeout=seconds) as response:  # noqa: S310 - http by construction
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError, ValueError):
        return False


def _folder(home: Path) -> Path:
    return home.resolve() / "prefect"


def _for_runs(folder: Path) -> Path:
    """Return the file that is there while the server runs only as long as a run does."""
    return folder / "for-runs"


def _known_file(folder: Path) -> Path:
    """Return the file that is there once this Prefect has migrated the folder's database and registered its blocks."""
    return folder / f"blocks-of-{version('prefect')}"


def _spawn_server(folder: Path) -> None:
    if find_spec("prefect") is None:
        raise EmbeddedError("Prefect is not installed", "package prefect", "run `make setup`")
    if not (folder / "prefect.db").exists():
        prefect_schema.create(folder / "prefect.db")
        _known_file(folder).unlink(missing_ok=True)
    port = process.choose_port(process.read_record(folder).port)
    # What `prefect server start` runs, without its command line, whose imports are a tenth of the start.
    program = [sys.executable, "-P", "-m", "uvicorn", "--factory", "infra.embedded.prefect_server:create_app"]
    is_known = _known_file(folder).exists()
    environment = {
        **_environment(folder, None),
        # Without this the user interface asks the API at Prefect's usual port, whatever --port says.
        "PREFECT_SERVER_UI_API_URL": "/api",
        # Only to see whether its block types are registered, Prefect imports every integration, dbt and Kubernetes
        # included, which is half of its start; they are known once the same version has started here.
        "PREFECT_SERVER_MEMOIZE_BLOCK_AUTO_REGISTRATION": "false",
        "PREFECT_SERVER_REGISTER_BLOCKS_ON_START": str(not is_known).lower(),
        # A tenth of its start as well.
        "PREFECT_SERVER_DATABASE_MIGRATE_ON_START": str(not is_known).lower(),
        # Prefect 3.8's worker can overlook a run that is cancelled as its process starts; only this time-out ends it.
        # Above the 30 s that a worker gives a process to end, below Prefect's 300 s, for which a person would wait.
        "PREFECT_SERVER_SERVICES_CANCELLATION_CLEANUP_CANCELLING_TIMEOUT_SECONDS": "45",
        # Each of these looks into the database every five seconds, a sixth of what an idle server takes. Nobody waits
        # for them: a run is late after minutes, ours never pause, and a changed schedule may wait a moment.
        "PREFECT_SERVER_SERVICES_LATE_RUNS_LOOP_SECONDS": "15",
        "PREFECT_SERVER_SERVICES_PAUSE_EXPIRATIONS_LOOP_SECONDS": "60",
        "PREFECT_SERVER_SERVICES_SCHEDULER_RECENT_DEPLOYMENTS_LOOP_SECONDS": "15",
    }
    process.spawn(
        [*program, "--host", "127.0.0.1", "--port", str(port), "--log-level", "warning"],
        folder,
        port,
        environment=environment,
    )


def _spawn_worker(folder: Path, api_url: str) -> None:
    program = [sys.executable, "-m", "prefect", "worker", "start", "--pool", WORK_POOL, "--type", "process"]
    # Flow runs inherit the worker's folder and environment: both must be those of the person who started it.
    process.spawn(program, folder, 0, name="worker", environment=_environment(folder, api_url), directory=Path.cwd())


def _environment(folder: Path, api_url: str | None) -> dict[str, str]:
    """Return an environment in which this server is the only Prefect there is, and nothing is sent elsewhere."""
    own = {"PREFECT_HOME": str(folder), "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}
    if api_url is None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "WAREHOUSE_"))}
        return {**kept, **own}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_API")}
    return {**kept, **own, "PREFECT_API_URL": api_url, "WAREHOUSE_HOME": str(folder.parent)}


def _wait(home: Path, progress: Progress) -> bool:
    record = process.read_record(_folder(home))
    return process.wait_ready(
        lambda: process.alive(record),
        lambda: answers(url(home)),
        _READY_SECONDS,
        lambda waited: progress(f"Prefect: starting, {waited}"),
    )


def _ensure_pool(api_url: str) -> None:
    """Create the process work pool over HTTP; importing Prefect for it would cost five seconds."""
    body = json.dumps({"name": WORK_POOL, "type": "process"}).encode()
    request = urllib.request.Request(  # noqa: S310 - http by construction
        f"{api_url}/work_pools/", data=body, headers={"Content-Type": "application/json"}, method="POST"
    )
    try:
        with urllib.request.urlopen(request, timeout=30):  # noqa: S310 - http by construction
            return
    except urllib.error.HTTPError as error:
        if error.code != 409:
            raise EmbeddedError(f"creating the work pool failed: {error}", api_url, "see the server's log") from None
