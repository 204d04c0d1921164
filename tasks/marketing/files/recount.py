"""The rows of text files counted by Python's own readers, which share nothing with those that land them."""

from __future__ import annotations

import csv
import gzip
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from tasks.marketing.files.config import FilesRef
from tasks.marketing.files.folder import Folder

_ENCODINGS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


def recount(ref: FilesRef) -> int | None:
    """Count a table's rows; None where the format has no second reader.

    Raises:
        SourceError: Files cannot be listed or read.
    """
    if ref.table.format == "parquet":
        return None
    folder = Folder(ref.source.path)
    total = 0
    for file in folder.files(ref.table.pattern):
        with folder.local(file.name) as (_, path), _text(path) as stream:
            total += _rows(stream) if ref.table.format == "csv" else sum(1 for line in stream if line.strip())
    return total


def _text(path: Path) -> IO[str]:
    binary: IO[bytes] = path.open("rb")
    packed = binary.read(2) == b"\x1f\x8b"
    binary.seek(0)
    unpacked = gzip.GzipFile(fileobj=binary) if packed else binary
    encoding = _ENCODINGS.get(unpacked.read(2), "utf-8-sig")
    unpacked.seek(0)
    # What cannot be decoded is a line nevertheless.
    return io.TextIOWrapper(unpacked, encoding=encoding, errors="replace", newline="")


def _rows(stream: IO[str]) -> int:
    """Count the rows below the header; an empty line is none."""
    csv.field_size_limit(sys.maxsize)
    beginning = next((line for line in _lines(stream) if line.strip("\r\n")), "")
    delimiter = max(",;\t|", key=beginning.count)
    stream.seek(0)
    return max(sum(1 for row in csv.reader(stream, delimiter=delimiter) if row) - 1, 0)


def _lines(stream: IO[str]) -> Iterator[str]:
    # With `newline=""` each of the three ends is one, and none is translated.
    return iter(stream.readline, "")
