"""Listing and reading the files of a source: a folder or an object store, with every error named."""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import obstore
from obstore.exceptions import BaseError, NotFoundError, PermissionDeniedError, UnauthenticatedError
from obstore.store import LocalStore, ObjectStore, from_url

from tasks.errors import MissingCollection, SourceAuthError, SourceError, SourceUnreachable

_CHUNK_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file as it was when it was listed or opened.

    Attributes:
        name: Path below the source's root.
        size: Bytes.
        modified: Time of the last change.
        fingerprint: Changes when the file does: over size, time and the store's own tag.
    """

    name: str
    size: int
    modified: datetime
    fingerprint: str


class Folder:
    """The root of a files source."""

    def __init__(self, root: str) -> None:
        self.root = root
        with self._named(""):
            self._store = open_store(root)

    def files(self, pattern: str) -> list[FoundFile]:
        """Return the files that match a glob (`*` within a folder, `**` across), by name.

        Raises:
            SourceError: The folder or store cannot be listed.
        """
        matches = re.compile(glob_expression(pattern)).fullmatch
        prefix = re.split(r"[*?\[]", pattern, maxsplit=1)[0].rpartition("/")[0]
        with self._named(prefix):
            found = [
                _found(item)
                for page in obstore.list(self._store, prefix or None)
                for item in page
                if matches(item["path"])
            ]
        return sorted(found, key=lambda file: file.name)

    def open(self, name: str) -> tuple[FoundFile, Callable[[], Iterator[bytes]]]:
        """Return a file as it is now, and a function that reads its bytes once.

        Raises:
            SourceError: The file is gone or cannot be read.
        """
        with self._named(name):
            answer = obstore.get(self._store, name)
            found = _found(answer.meta)

        def chunks() -> Iterator[bytes]:
            with self._named(name):
                for chunk in answer.stream(min_chunk_size=_CHUNK_BYTES):
                    yield bytes(chunk)

        return found, chunks

    @contextmanager
    def local(self, name: str) -> Iterator[tuple[FoundFile, Path]]:
        """Give a file as one of this machine: itself, or a temporary copy of an object.

        Raises:
            SourceError: The file is gone or cannot be read.
        """
        found, chunks = self.open(name)
        if isinstance(self._store, LocalStore):
            yield found, Path(self.root.removeprefix("file://")) / name
            return
        with tempfile.TemporaryDirectory(prefix="warehouse-") as folder:
            path = Path(folder) / "file"
            with path.open("wb") as copy:
                copy.writelines(chunks())
            yield found, path

    @contextmanager
    def _named(self, name: str) -> Iterator[None]:
        where = f"{self.root.rstrip('/')}/{name}"
        try:
            yield
        except (PermissionDeniedError, UnauthenticatedError, PermissionError) as error:
            raise SourceAuthError(f"reading is not allowed: {error}", where, "grant list and read") from error
        except (NotFoundError, FileNotFoundError) as error:
            raise SourceUnreachable("the file is gone since it was listed", where, "run again") from error
        except (BaseError, OSError) as error:
            raise SourceUnreachable(f"cannot read: {error}", where, "check path and credentials") from error
        except ValueError as error:
            raise SourceError(f"cannot open: {error}", where, "correct `path` in sources.yaml") from error


def open_store(root: str) -> ObjectStore:
    """Return the store of a folder of this machine or of a URL.

    Raises:
        MissingCollection: The folder does not exist.
    """
    if "://" in root and not root.startswith("file://"):
        return from_url(root)
    folder = Path(root.removeprefix("file://"))
    if not folder.is_dir():
        raise MissingCollection("the folder does not exist", str(folder), "correct `path` in sources.yaml")
    return LocalStore(folder)


def glob_expression(pattern: str) -> str:
    """Return the regular expression of a glob over paths with `/`."""
    parts = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return "".join(parts.get(token, re.escape(token)) for token in re.findall(r"\*\*/|\*\*|\*|\?|[^*?]+", pattern))


def _found(meta: Any) -> FoundFile:
    said = f"{meta['size']}:{meta['last_modified'].isoformat()}:{meta.get('e_tag') or ''}"
    digest = hashlib.blake2b(said.encode(), digest_size=8).hexdigest()
    return FoundFile(str(meta["path"]), int(meta["size"]), meta["last_modified"], digest)
