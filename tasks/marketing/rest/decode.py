"""Bytes of an answer into records, one by one: JSON, JSON lines and CSV, plain or packed, with exact numbers."""

from __future__ import annotations

import io
import json
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import IO, Any, Literal

from bson import Decimal128

from tasks.errors import SourceError
from tasks.marketing.files.records import FileProblem, csv_records, exact_integer, exact_number, json_records

Format = Literal["json", "jsonl", "csv"]

_CHUNK = 1 << 20
# One element of a long JSON list, such as a batch of 10,000 rows of Google Ads (some 10 MB).
_MOST_ELEMENT = 256 << 20
_SPACE_OR_COMMA = re.compile(r"[\s,]*")


def parse(raw: bytes | str, where: str) -> Any:
    """Return a JSON document with exact numbers: integers, decimals, or text where nothing holds them.

    Raises:
        SourceError: It is none.
    """
    try:
        return json.loads(raw, parse_float=exact_number, parse_int=exact_integer, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        said = str(error) if not isinstance(error, json.JSONDecodeError) else f"{error.msg} at byte {error.pos}"
        raise SourceError(f"the answer is not JSON: {said}", where, "see what the address answers") from None


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no JSON number")


def unpacked(file: IO[bytes]) -> Iterator[bytes]:
    """Yield the bytes of a file; gzip is unpacked, and so is a zip archive of one file.

    Raises:
        SourceError: The archive is broken, or holds not exactly one file.
    """
    head = file.read(4)
    file.seek(0)
    if head.startswith(b"PK"):
        try:
            with zipfile.ZipFile(file) as archive:
                names = [name for name in archive.namelist() if not name.endswith("/")]
                if len(names) != 1:
                    raise SourceError(
                        f"the archive holds {len(names)} files where one was expected", names[0] if names else ""
                    )
                with archive.open(names[0]) as inner:
                    yield from iter(lambda: inner.read(_CHUNK), b"")
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise SourceError(f"the archive is broken: {error}", "the downloaded report", "run again") from None
        return
    chunks = iter(lambda: file.read(_CHUNK), b"")
    if not head.startswith(b"\x1f\x8b"):
        yield from chunks
        return
    unpack = zlib.decompressobj(wbits=31)
    try:
        for chunk in chunks:
            yield unpack.decompress(chunk)
    except zlib.error as error:
        raise SourceError(f"the gzip file is broken: {error}", "the downloaded report", "run again") from None
    if not unpack.eof:
        raise SourceError("the gzip file ends too early", "the downloaded report", "run again")


def lines(file: IO[bytes], form: Format, where: str) -> Iterator[dict[str, Any]]:
    """Yield the records of a file of CSV or JSON lines.

    Raises:
        SourceError: The file, or one of its lines, cannot be read: a report with a hole is no report.
    """
    records = csv_records if form == "csv" else json_records
    try:
        for record in records(unpacked(file), ()):
            if record.document is None:
                raise SourceError(f"line {record.line} cannot be read: {record.reason}", where, "run again")
            yield record.document
    except FileProblem as problem:
        raise SourceError(str(problem), where, "see what the address answers") from None


def elements(chunks: Iterable[bytes], where: str) -> Iterator[Any]:
    """Yield the elements of a JSON list as they arrive; no more than one is held.

    Raises:
        SourceError: It is no list, ends too early, or one element is beyond all measure.
    """
    decoder = json.JSONDecoder(parse_float=exact_number, parse_int=exact_integer, parse_constant=_no_number)
    stream = io.TextIOWrapper(io.BufferedReader(_Chunks(chunks)), encoding="utf-8")
    text = stream.read(_CHUNK).lstrip()
    if not text.startswith("["):
        raise SourceError("the answer is no JSON list", where)
    position = 1
    while True:
        position = _after_space(text, position)
        if text.startswith("]", position):
            return
        try:
            value, position = decoder.raw_decode(text, position)
        except ValueError as error:
            text, position = text[position:], 0
            # Twice as much each time, so that a long element is not scanned again for every piece of it.
            more = stream.read(max(_CHUNK, len(text)))
            if not more or len(text) > _MOST_ELEMENT:
                raise SourceError(f"the answer ends too early or is not JSON: {error}", where, "run again") from None
            text += more
            continue
        except RecursionError:
            raise SourceError("the answer is nested too deeply", where) from None
        if position == len(text) and isinstance(value, int | Decimal128):
            raise SourceError("a list of numbers is no list of records", where)
        yield value
        if position > _CHUNK:
            text, position = text[position:], 0


def _after_space(text: str, position: int) -> int:
    match = _SPACE_OR_COMMA.match(text, position)
    return match.end() if match else position


class _Chunks(io.RawIOBase):
    """Chunks of bytes as a file."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            found = next(self._chunks, None)
            if found is None:
                return 0
            self._rest = found
        taken, self._rest = self._rest[: len(buffer)], self._rest[len(buffer) :]
        buffer[: len(taken)] = taken
        return len(taken)


def positional(columns: Sequence[str], rows: Iterable[Sequence[Any]], where: str) -> Iterator[dict[str, Any]]:
    """Yield rows of values under the names that came with them.

    Raises:
        SourceError: A row has another number of values, or a name occurs twice.
    """
    if len(set(columns)) < len(columns):
        raise SourceError("a column is named twice", where)
    for row in rows:
        if len(row) != len(columns):
            raise SourceError(f"a row has {len(row)} values where {len(columns)} columns are named", where)
        yield dict(zip(columns, row, strict=True))


def without_nulls(record: Mapping[str, Any], spellings: frozenset[str]) -> dict[str, Any]:
    """Return a record with a service's own words for nothing as null."""
    return {name: None if isinstance(value, str) and value in spellings else value for name, value in record.items()}


def merge(chunks: Sequence[Iterable[Mapping[str, Any]]], key: Sequence[str], where: str) -> Iterator[dict[str, Any]]:
    """Yield records that were asked for in several requests of some fields each, joined by their key.

    A record that only some of the answers hold is kept: a service leaves out rows where all fields asked for are zero.

    Raises:
        SourceError: A key occurs twice in one answer.
    """
    joined: dict[tuple[Any, ...], dict[str, Any]] = {}
    for records in chunks:
        seen: set[tuple[Any, ...]] = set()
        for record in records:
            found = tuple(str(record.get(name)) for name in key)
            if found in seen:
                raise SourceError(f"the key {', '.join(key)} occurs twice in one answer: {found}", where)
            seen.add(found)
            joined.setdefault(found, {}).update(record)
    yield from joined.values()
