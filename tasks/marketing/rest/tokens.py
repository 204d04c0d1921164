"""Where replaced refresh tokens are kept: in a Secret block of a Prefect server elsewhere, else in a private file."""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tasks.marketing.rest.auth import TokenStore
from tasks.settings import Settings

_FILE = "tokens.json"
_HERE = (None, "localhost", "127.0.0.1", "::1")


def token_store(settings: Settings) -> TokenStore:
    """Return the store that every process of this warehouse shares.

    A Prefect server on this machine may run only as long as a run, and `warehouse check` does without: the file is
    always there.
    """
    prefect = urlsplit(os.environ.get("PREFECT_API_URL", "")).hostname
    return FileTokens(settings.home / _FILE) if prefect in _HERE else BlockTokens(settings)


class FileTokens:
    """A file that only its owner can read.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def get(self, key: str) -> str | None:
        """See `TokenStore`."""
        try:
            found = json.loads(self._path.read_text())
        except FileNotFoundError:
            return None
        value = found.get(key)
        return value if isinstance(value, str) else None

    def put(self, key: str, token: str) -> None:
        """See `TokenStore`."""
        # Tokens of other sources may be replaced at the same time.
        with self._locked("all"):
            try:
                known = json.loads(self._path.read_text())
            except FileNotFoundError:
                known = {}
            temporary = self._path.with_suffix(".new")
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w") as file:
                json.dump({**known, key: token}, file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self._path)

    def alone(self, key: str) -> AbstractContextManager[object]:
        """See `TokenStore`."""
        return self._locked(_plain(key))

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.with_suffix(f".{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


class BlockTokens:
    """Secret blocks of Prefect, `channel-token-<source>`: encrypted, and within reach of every pod.

    Args:
        settings: Where the warehouse is, by whose locks pods take turns: Prefect holds up nobody.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def get(self, key: str) -> str | None:
        """See `TokenStore`."""
        from prefect.blocks.system import Secret

        try:
            block: Any = Secret.load(_block(key))
        except ValueError:
            # Prefect's word for a block that does not exist.
            return None
        return str(block.get())

    def put(self, key: str, token: str) -> None:
        """See `TokenStore`."""
        from prefect.blocks.system import Secret
        from pydantic import SecretStr

        Secret(value=SecretStr(token)).save(_block(key), overwrite=True)

    @contextmanager
    def alone(self, key: str) -> Iterator[None]:
        """See `TokenStore`."""
        from tasks.database import connect

        # A lock of a transaction: a connection pooler may give each transaction another session.
        with connect(self._settings.database_url()) as connection:
            connection.execute("select pg_advisory_xact_lock(hashtextextended(%s, 0))", [_block(key)])
            yield


def _block(key: str) -> str:
    return f"channel-token-{_plain(key)}"


def _plain(key: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", key.lower()).strip("-")
