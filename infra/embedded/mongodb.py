"""The embedded MongoDB-wire server: SecantusDB, run as a process of its own with persistent storage.

SecantusDB is GPL-2.0, so the product never imports it: it is a program beside it, for the demo and the tests.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from infra.embedded import process
from infra.embedded.process import EmbeddedError, Progress, Status, silent
from tasks.errors import SourceUnreachable


def up(home: Path, progress: Progress = silent, options: Sequence[str] = ()) -> str:
    """Start the server unless it runs, and return its URI.

    Args:
        home: Folder of everything embedded.
        progress: Told each step.
        options: Further arguments of the server.

    Raises:
        EmbeddedError: With the log's tail when the server does not come up.
    """
    process.up(
        _folder(home),
        "MongoDB (SecantusDB)",
        lambda port: [*_command(port), *options],
        lambda: _answers(url(home)),
        progress,
    )
    return url(home)


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


def _command(port: int) -> list[str]:
    if find_spec("secantus") is None:
        raise EmbeddedError(
            "the embedded MongoDB-wire server is not installed",
            "package SecantusDB",
            "install the `demo` extra (`make setup`), or set MONGODB_URI to a MongoDB of your own",
        )
    # -P keeps the working directory off the module path, where a stray file could shadow a library.
    program = [sys.executable, "-P", "-m", "secantus"]
    return [*program, "--host", "127.0.0.1", "--port", str(port), "--storage-path", "data", "--log-level", "WARNING"]


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
