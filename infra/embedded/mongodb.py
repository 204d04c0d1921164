"""The embedded MongoDB-wire server: SecantusDB, run as a process of its own with persistent storage.

SecantusDB is GPL-2.0, so the product never imports it: it is a program beside it, for the demo and the tests.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

from infra.embedded import process
from infra.embedded.process import EmbeddedError, Progress, Status, silent
from tasks.errors import SourceUnreachable

_READY_SECONDS = 60.0
_ATTEMPTS = 3


def up(home: Path, progress: Progress = silent) -> str:
    """Start the server unless it runs, and return its URI.

    Args:
        home: Folder of everything embedded.
        progress: Told each step.

    Raises:
        EmbeddedError: With the log's tail when the server does not come up.
    """
    folder = _folder(home)
    with process.locked(folder):
        if process.alive(process.read_record(folder)) and _answers(url(home)):
            return url(home)
        process.stop(folder)
        progress("MongoDB: starting (SecantusDB)")
        for _ in range(_ATTEMPTS):
            if _start(home, folder, progress):
                return url(home)
    raise EmbeddedError(
        f"the MongoDB-wire server did not start:\n{process.log_tail(folder / 'server.log')}",
        str(folder / "server.log"),
        "mend what the log says, or start afresh with `warehouse down --wipe` (deletes the embedded data)",
    )


def down(home: Path, wipe: bool = False) -> bool:
    """Stop the server if it is ours and runs; with `wipe` also remove its data. True when one was stopped."""
    return process.down(_folder(home), wipe=wipe)


def status(home: Path) -> Status:
    """Return the state of the server without starting it."""
    return process.status(_folder(home), "mongodb", "mongodb://127.0.0.1:{port}")


def url(home: Path) -> str:
    """Return the URI of the server.

    Raises:
        SourceUnreachable: The embedded server has never been started here.
    """
    record = process.read_record(_folder(home))
    if not record.port:
        raise SourceUnreachable(
            "no MongoDB is configured and the embedded one has not been started",
            f"MONGODB_URI, {_folder(home)}",
            "set MONGODB_URI to your MongoDB, or run `warehouse up` first",
        )
    return f"mongodb://127.0.0.1:{record.port}/?directConnection=true"


def _folder(home: Path) -> Path:
    return home.resolve() / "mongodb"


def _start(home: Path, folder: Path, progress: Progress) -> bool:
    if find_spec("secantus") is None:
        raise EmbeddedError(
            "the embedded MongoDB-wire server is not installed",
            "package SecantusDB",
            "install the `demo` extra (`make setup`), or set MONGODB_URI to a MongoDB of your own",
        )
    port = process.choose_port(process.read_record(folder).port)
    # -P keeps the working directory off the module path, where a stray file could shadow a library.
    program = [sys.executable, "-P", "-m", "secantus"]
    options = ["--host", "127.0.0.1", "--port", str(port), "--storage-path", "data", "--log-level", "WARNING"]
    started = process.spawn([*program, *options], folder, port, environment=process.without_settings())
    ready = process.wait_ready(
        lambda: started.poll() is None,
        lambda: _answers(url(home)),
        _READY_SECONDS,
        lambda waited: progress(f"MongoDB: starting, {waited}"),
    )
    if not ready:
        process.stop(folder)
    return ready


def _answers(uri: str) -> bool:
    from pymongo import MongoClient
    from pymongo.errors import PyMongoError

    try:
        client: MongoClient[dict[str, object]] = MongoClient(uri, serverSelectionTimeoutMS=1000, connectTimeoutMS=1000)
        with client:
            client.admin.command("ping")
    except PyMongoError:
        return False
    return True
