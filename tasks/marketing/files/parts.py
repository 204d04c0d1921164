"""What a file is made of: itself, the members of a zip, or a sheet of an Excel file, each as records."""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

from tasks.marketing.files.config import FilesTable
from tasks.marketing.files.folder import Folder, FoundFile, glob_expression
from tasks.marketing.files.records import FileProblem, Record, csv_records, json_records

_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_CHUNK_BYTES = 1 << 20

Parts = Iterator[tuple[str, Iterator[Record]]]


@contextmanager
def opened(folder: Folder, table: FilesTable, name: str) -> Iterator[tuple[FoundFile, Parts]]:
    """Give a file as it is now, and its parts: the name of each, for messages, and its records.

    Raises:
        FileProblem: The file cannot be read.
        SourceError: It is gone, or cannot be read.
    """
    if table.format != "xlsx":
        file, chunks = folder.open(name)
        stream = chunks()
        first = next(stream, b"")
        if not first.startswith(_ZIP):
            yield file, iter([(name, _records(table, chain([first], stream)))])
            return
    with folder.local(name) as (file, path):
        yield file, _sheet(table, name, path) if table.format == "xlsx" else _members(table, name, path)


def _records(table: FilesTable, chunks: Iterator[bytes]) -> Iterator[Record]:
    return (csv_records if table.format == "csv" else json_records)(chunks, table.key, table)


def _sheet(table: FilesTable, name: str, path: Path) -> Parts:
    from tasks.marketing.files.excel import sheet_records

    yield name, sheet_records(path, table.key, table)


def members(archive: zipfile.ZipFile, pattern: str | None) -> list[str]:
    """Return the names of the files in a zip that match a glob, without what macOS adds."""
    matches = re.compile(glob_expression(pattern or "**")).fullmatch
    names = (item.filename for item in archive.infolist() if not item.is_dir())
    return sorted(name for name in names if matches(name) and not name.startswith("__MACOSX/"))


def _members(table: FilesTable, name: str, path: Path) -> Parts:
    try:
        with zipfile.ZipFile(path) as archive:
            found = members(archive, table.members)
            if not found:
                raise FileProblem(f"no file in the zip matches {table.members or '**'}")
            for member in found:
                with archive.open(member) as stream:
                    yield f"{name}!{member}", _records(table, iter(lambda: stream.read(_CHUNK_BYTES), b""))
    # zipfile raises the last two for a password and for a compression that it does not know.
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        raise FileProblem(f"the zip cannot be read: {error}") from None
