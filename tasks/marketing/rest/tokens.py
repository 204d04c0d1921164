"""Where replaced refresh tokens are kept: in a Secret block where Prefect is, else in a private file."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from tasks.marketing.rest.auth import TokenStore
from tasks.settings import Settings

_FILE = "tokens.json"


def token_store(settings: Settings) -> TokenStore:
    """Return the store that every process of this warehouse shares."""
    if os.environ.get("PREFECT_API_URL"):
        return BlockTokens()
    return FileTokens(settings.home / _FILE)


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
        try:
            known = json.loads(self._path.read_text())
        except FileNotFoundError:
            known = {}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._path.with_suffix(f".{os.getpid()}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump({**known, key: token}, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path)


class BlockTokens:
    """Secret blocks of Prefect, `channel-token-<source>`: encrypted, and within reach of every pod."""

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


def _block(key: str) -> str:
    return "channel-token-" + re.sub(r"[^a-z0-9]+", "-", key.lower()).strip("-")
