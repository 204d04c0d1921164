"""Records of CSV and JSON-lines files, one by one, exact: each is a document, or says why it cannot be one."""

from __future__ import annotations

import codecs
import json
import re
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from bson import Decimal128

# A line without an end, or a quote without one, must not fill the memory.
MAX_LINE_BYTES = 64 << 20
_MAX_QUOTED_LINES = 1_000
_DELIMITERS = (",", ";", "\t", "|")
_DECIMAL128_DIGITS = 34
_INT64 = range(-(1 << 63), 1 << 63)
_MIXED_ENDS = "lines of this file end in two ways: save it with one of them"
_LINE_END = re.compile(rb"\n|\r\n|\r(?=.)", re.DOTALL)


class FileProblem(Exception):
    """A file as a whole cannot be read; its rows stay out and the other files go on."""


@dataclass(slots=True)
class Record:
    """One row of a file.

    Attributes:
        line: Line it starts on, from 1.
        raw: Its bytes, without the line end.
        document: Column to value; None when it was refused.
        reason: Why it was refused.
    """

    line: int
    raw: bytes
    document: dict[str, Any] | None
    reason: str = ""


class Lines:
    """Lines of a file with their numbers, of which some can be given back.

    They come without their ends, in UTF-8 without a byte order mark; gzip and UTF-16 are unpacked. The first end
    decides for the whole file: a line feed, with or without a carriage return before it, or a carriage return alone.

    Attributes:
        number: Number of the line that was taken last, from 1.
        end: What ends a line but the last character of a pair.
        other: The end that no line of this file may have outside of quotes.

    Raises:
        FileProblem: Broken gzip or UTF-16, or a line beyond all measure.
    """

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self.number = 0
        self.end, self.other = b"\n", b"\r"
        self._returned: deque[bytes] = deque()
        self._stream = self._split(_utf8(_plain(chunks)))

    def take(self) -> bytes | None:
        """Return the next line, None after the last."""
        line = self._returned.popleft() if self._returned else next(self._stream, None)
        self.number += line is not None
        return line

    def give_back(self, lines: Sequence[bytes]) -> None:
        """Have lines taken again."""
        self._returned.extendleft(reversed(lines))
        self.number -= len(lines)

    def trimmed(self, line: bytes) -> bytes:
        """Return a line without the first character of an end that is a pair."""
        return line.removesuffix(b"\r") if self.end == b"\n" else line

    def _split(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        pending, known = b"", False
        for chunk in chunks:
            pending += chunk
            newest = chunk if known else pending
            known = known or self._know(pending)
            if known and self.end in newest:
                *complete, pending = pending.split(self.end)
                yield from complete
            if len(pending) > MAX_LINE_BYTES:
                raise FileProblem(f"a line is longer than {MAX_LINE_BYTES >> 20} MiB")
        if pending and not known and pending.endswith(b"\r"):
            self.end, self.other = b"\r", b"\n"
            pending = pending[:-1]
        if pending:
            yield pending

    def _know(self, beginning: bytes) -> bool:
        """Look for the first end of a line; a carriage return tells nothing before what follows it is known."""
        first = _LINE_END.search(beginning)
        if first and first[0] == b"\r":
            self.end, self.other = b"\r", b"\n"
        return first is not None


def _plain(chunks: Iterable[bytes]) -> Iterator[bytes]:
    stream = iter(chunks)
    first = next(stream, b"")
    if not first.startswith(b"\x1f\x8b"):
        yield first
        yield from stream
        return
    unpack = zlib.decompressobj(wbits=31)
    try:
        for chunk in (first, *stream):
            yield unpack.decompress(chunk)
            while unpack.eof and unpack.unused_data:
                rest, unpack = unpack.unused_data, zlib.decompressobj(wbits=31)
                yield unpack.decompress(rest)
    except zlib.error as error:
        raise FileProblem(f"broken gzip: {error}") from None
    if not unpack.eof:
        raise FileProblem("broken gzip: it ends too early")


def _utf8(chunks: Iterable[bytes]) -> Iterator[bytes]:
    stream = iter(chunks)
    first = b""
    while len(first) < 3 and (chunk := next(stream, None)) is not None:
        first += chunk
    if not first.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        yield first.removeprefix(codecs.BOM_UTF8)
        yield from stream
        return
    decoder = codecs.getincrementaldecoder("utf-16")()
    try:
        yield decoder.decode(first).encode()
        for chunk in stream:
            yield decoder.decode(chunk).encode()
        yield decoder.decode(b"", final=True).encode()
    except UnicodeError as error:
        raise FileProblem(f"not valid UTF-16: {error}") from None


# -- CSV ----------------------------------------------------------------------------------------------------------


def csv_records(chunks: Iterable[bytes], key: Sequence[str]) -> Iterator[Record]:
    """Yield the rows of a CSV file: text as it stands, an empty cell as None, a quoted empty one as "".

    The delimiter is the one that the header uses most: comma, semicolon, tab or bar.

    Args:
        chunks: The file's bytes.
        key: Columns that must be there.

    Raises:
        FileProblem: No header, a repeated column, or a key column that is not there.
    """
    source = Lines(chunks)
    header_record = next(_split(source, None), None)
    if header_record is None:
        raise FileProblem("the file is empty: not even a header")
    header, delimiter = _header(header_record, key)
    for record in _split(source, delimiter):
        if record.reason:
            yield Record(record.line, record.raw, None, record.reason)
        elif len(record.fields) != len(header):
            said = f"{len(record.fields)} fields where the header has {len(header)}"
            yield Record(record.line, record.raw, None, said)
        else:
            yield Record(record.line, record.raw, dict(zip(header, record.fields, strict=True)))


@dataclass(slots=True)
class _Cells:
    line: int
    raw: bytes
    fields: list[str | None]
    reason: str = ""
    delimiter: str = ","


def _split(source: Lines, delimiter: str | None) -> Iterator[_Cells]:
    """Yield rows as cells; without a delimiter the first line decides it."""
    while (taken := source.take()) is not None:
        number, line = source.number, source.trimmed(taken)
        if not line:
            continue
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            yield _Cells(number, line, [], f"not valid UTF-8 at byte {error.start + 1} of the line")
            continue
        chosen = delimiter or max(_DELIMITERS, key=text.count)
        if '"' not in text and source.other in line:
            yield _Cells(number, line, [], _MIXED_ENDS, chosen)
        elif '"' not in text:
            yield _Cells(number, line, [cell or None for cell in text.split(chosen)], "", chosen)
        else:
            yield _quoted(source, number, taken, chosen)


def _quoted(source: Lines, number: int, first: bytes, delimiter: str) -> _Cells:
    """Read a row with quotes, over as many lines as its quotes span."""
    taken = [first]
    while True:
        raw = source.trimmed(source.end.join(taken))
        try:
            fields = split_cells(raw.decode(), delimiter, source.other.decode())
        except (ValueError, UnicodeDecodeError) as error:
            source.give_back(taken[1:])
            reason = "not valid UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
            return _Cells(number, source.trimmed(first), [], reason, delimiter)
        if fields is not None:
            return _Cells(number, raw, fields, "", delimiter)
        line = source.take() if len(taken) < _MAX_QUOTED_LINES else None
        if line is None:
            # Only the line with the quote is lost to it: what follows is read on its own.
            source.give_back(taken[1:])
            return _Cells(number, source.trimmed(first), [], "a quote is opened and never closed", delimiter)
        taken.append(line)


def split_cells(text: str, delimiter: str, other_end: str) -> list[str | None] | None:
    """Return the cells of a row, None when a quote is still open at its end.

    Raises:
        ValueError: Text follows a closing quote, or the other end of a line stands outside of quotes.
    """
    cells: list[str | None] = []
    position = 0
    while True:
        if text.startswith('"', position):
            end = _closing_quote(text, position + 1)
            if end is None:
                return None
            if end + 1 < len(text) and text[end + 1] != delimiter:
                raise ValueError("text follows a closing quote")
            cells.append(text[position + 1 : end].replace('""', '"'))
            position = end + 1
        else:
            end = text.find(delimiter, position)
            end = len(text) if end < 0 else end
            if other_end in text[position:end]:
                raise ValueError(_MIXED_ENDS)
            cells.append(text[position:end] or None)
            position = end
        if position >= len(text):
            return cells
        position += 1


def _closing_quote(text: str, position: int) -> int | None:
    while (position := text.find('"', position)) >= 0:
        if not text.startswith('"', position + 1):
            return position
        position += 2
    return None


def _header(record: _Cells, key: Sequence[str]) -> tuple[list[str], str]:
    if record.reason:
        raise FileProblem(f"the header cannot be read: {record.reason}")
    names = [name or "" for name in record.fields]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise FileProblem(f"the header names a column twice: {', '.join(map(repr, repeated))}")
    problem = next((name for name in names if not name or "\x00" in name), None)
    if problem is not None:
        raise FileProblem("the header has a column without a usable name")
    _check_key(names, key)
    return names, record.delimiter


def _check_key(names: Sequence[str], key: Sequence[str]) -> None:
    missing = [name for name in key if name not in names]
    if missing:
        raise FileProblem(f"the key column {', '.join(missing)} is not in the file")
    if "_id" in names and tuple(key) != ("_id",):
        raise FileProblem("a column is called _id, which only the key can be: make it the key")


# -- JSON lines ---------------------------------------------------------------------------------------------------

_NUMBER_WITH_FRACTION = re.compile(r"[.eE]")


def json_records(chunks: Iterable[bytes], key: Sequence[str]) -> Iterator[Record]:
    """Yield the objects of a JSON-lines file; numbers with a fraction stay exact decimals.

    Args:
        chunks: The file's bytes.
        key: Fields that identify a row (their presence is the caller's to check).

    Raises:
        FileProblem: Broken gzip or UTF-16.
    """
    source = Lines(chunks)
    while (taken := source.take()) is not None:
        number, line = source.number, source.trimmed(taken)
        if not line.strip():
            continue
        try:
            value = json.loads(
                line.decode(),
                parse_float=exact_number,
                parse_int=exact_number,
                parse_constant=float,
                object_pairs_hook=_object,
            )
        except UnicodeDecodeError as error:
            yield Record(number, line, None, f"not valid UTF-8 at byte {error.start + 1} of the line")
        except (ValueError, RecursionError) as error:
            yield Record(number, line, None, f"not valid JSON: {error}")
        else:
            yield _json_record(number, line, value, key)


def _json_record(number: int, line: bytes, value: object, key: Sequence[str]) -> Record:
    if not isinstance(value, dict):
        return Record(number, line, None, "not a JSON object")
    if "_id" in value and tuple(key) != ("_id",):
        return Record(number, line, None, "a field is called _id, which only the key can be: make it the key")
    return Record(number, line, value)


def exact_number(text: str) -> int | Decimal128 | str:
    """Return a JSON number as what holds it exactly; one that nothing holds stays text."""
    # -0 is no integer: the sign would be lost.
    if not _NUMBER_WITH_FRACTION.search(text) and len(text) <= 20 and text != "-0" and int(text) in _INT64:
        return int(text)
    number = Decimal(text)
    exponent = number.as_tuple().exponent
    if len(number.as_tuple().digits) > _DECIMAL128_DIGITS or not -6_143 <= int(exponent) <= 6_111:
        return text
    return Decimal128(number)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} occurs twice")
    return made
