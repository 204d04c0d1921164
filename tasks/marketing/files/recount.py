"""The rows of text files counted by Python's own readers, which share nothing with those that land them."""

from __future__ import annotations

import csv
import gzip
import io
import sys
import zipfile
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import IO

from tasks.marketing.files.config import FilesRef, FilesTable
from tasks.marketing.files.folder import Folder
from tasks.marketing.files.parts import members

_ENCODINGS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


def recount(ref: FilesRef) -> int | None:
    """Count a table's rows; None where the format has no second reader.

    Raises:
        SourceError: Files cannot be listed or read.
    """
    table = ref.table
    if table.format not in ("csv", "jsonl"):
        return None
    folder = Folder(ref.source.path)
    total = 0
    for file in folder.files(table.pattern):
        with folder.local(file.name) as (_, path):
            for binary in _contents(path, table):
                stream = _text(binary, table.encoding)
                total += _rows(stream, table) if table.format == "csv" else sum(1 for line in stream if line.strip())
    return total


def _contents(path: Path, table: FilesTable) -> Iterator[IO[bytes]]:
    if not zipfile.is_zipfile(path):
        with path.open("rb") as binary:
            yield binary
        return
    with zipfile.ZipFile(path) as archive:
        for member in members(archive, table.members):
            with archive.open(member) as binary:
                yield binary


def _text(binary: IO[bytes], encoding: str | None) -> IO[str]:
    packed = binary.read(2) == b"\x1f\x8b"
    binary.seek(0)
    unpacked = gzip.GzipFile(fileobj=binary) if packed else binary
    encoding = encoding or _ENCODINGS.get(unpacked.read(2), "utf-8-sig")
    unpacked.seek(0)
    # What cannot be decoded is a line nevertheless.
    return io.TextIOWrapper(unpacked, encoding=encoding, errors="replace", newline="")


def _rows(stream: IO[str], table: FilesTable) -> int:
    """Count the rows below the header; an empty line is none."""
    csv.field_size_limit(sys.maxsize)
    # With `newline=""` each of the three ends is one, and none is translated.
    lines = islice(iter(stream.readline, ""), table.skip_rows, None)
    header = next((line for line in lines if line.strip("\r\n")), "")
    delimiter = table.delimiter or max(",;\t|", key=header.count)
    rows = [table.is_total(row[0]) for row in csv.reader(chain([header], lines), delimiter=delimiter) if row][1:]
    return rows[: max(len(rows) - table.skip_footer, 0)].count(False)
