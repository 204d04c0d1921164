"""Records of CSV and JSON-lines files, one by one, exact: each is a document, or says why it cannot be one."""

from __future__ import annotations

import codecs
import json
import re
import struct
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any

from bson import Decimal128

from tasks.marketing.files.config import PLAIN, Layout

# A line without an end, or a quote without one, must not fill the memory.
MAX_LINE_BYTES = 64 << 20
_MAX_QUOTED_LINES = 1_000
_DELIMITERS = (",", ";", "\t", "|")
_DECIMAL128_DIGITS = 34
_DECIMAL128_BIAS = 6_176
_BID = struct.Struct("<QQ")
_PLAIN_FRACTION = re.compile(r"(-?)([0-9]+)\.([0-9]+)\Z")
# A whole number of fewer characters is one of 64 bits.
_SURE_DIGITS = 19
_INT64 = range(-(1 << 63), 1 << 63)
_MIXED_ENDS = "lines of this file end in two ways: save it with one of them"
_ASCII = b"\r\n\t ,;|\"'0A"
_STATEFUL = ("utf-7", "hz", "iso2022")
_LINE_END = re.compile(rb"\n|\r\n|\r(?=.)", re.DOTALL)


class FileProblem(Exception):
    """A file as a whole cannot be read; its rows stay out and the other files go on."""


@dataclass(slots=True)
class Record:
    """One row of a file.

    Attributes:
        line: Line it starts on, from 1.
        raw: Its bytes, without the line end.
        document: Column to value; None when it was refused or left out.
        reason: Why it was refused.
        left_out: What it is, when it is left out as the table's layout wants it.
    """

    line: int
    raw: bytes
    document: dict[str, Any] | None
    reason: str = ""
    left_out: str = ""


class Lines:
    """Lines of a file with their numbers, of which some can be given back.

    They come without their ends and without a byte order mark; gzip is unpacked, and what is not made of ASCII is made
    UTF-8. The first end decides for the whole file: a line feed, with or without a carriage return before it, or a
    carriage return alone.

    Args:
        chunks: The file's bytes.
        encoding: Of the file; None means UTF-8, or UTF-16 with its mark.

    Attributes:
        encoding: Of the lines.
        number: Number of the line that was taken last, from 1.
        end: What ends a line but the last character of a pair.
        other: The end that no line of this file may have outside of quotes.

    Raises:
        FileProblem: Broken gzip or UTF-16, or a line beyond all measure.
    """

    def __init__(self, chunks: Iterable[bytes], encoding: str | None = None) -> None:
        self.number = 0
        self.encoding = encoding if encoding and _extends_ascii(encoding) else "utf-8"
        self.end, self.other = b"\n", b"\r"
        self._returned: deque[bytes] = deque()
        self._stream = self._split(_unwrapped(_plain(chunks), encoding))

    def take(self) -> bytes | None:
        """Return the next line, None after the last."""
        line = self._returned.popleft() if self._returned else next(self._stream, None)
        self.number += line is not None
        return line

    def give_back(self, lines: Sequence[bytes]) -> None:
        """Have lines taken again."""
        self._returned.extendleft(reversed(lines))
        self.number -= len(lines)

    def text(self, line: bytes) -> str:
        """Return a line as text.

        Raises:
            ValueError: It is not valid in the file's encoding.
        """
        try:
            return line.decode(self.encoding)
        except UnicodeDecodeError as error:
            name = self.encoding.upper()
            raise ValueError(f"not valid {name} at byte {error.start + 1} of the line") from None

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


def _unwrapped(chunks: Iterable[bytes], encoding: str | None) -> Iterator[bytes]:
    """Yield the bytes of the text without a byte order mark; as UTF-8, unless the encoding extends ASCII."""
    stream = iter(chunks)
    first = b""
    while len(first) < 3 and (chunk := next(stream, None)) is not None:
        first += chunk
    if encoding is None and first.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    if encoding is None or _extends_ascii(encoding):
        yield first.removeprefix(codecs.BOM_UTF8)
        yield from stream
        return
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        for chunk in (first, *stream):
            yield decoder.decode(chunk).encode()
        yield decoder.decode(b"", final=True).encode()
    except UnicodeError as error:
        raise FileProblem(f"not valid {encoding.upper()}: {error}") from None


@lru_cache
def _extends_ascii(encoding: str) -> bool:
    """Return whether ends of lines, delimiters and quotes can be found in the bytes before they are decoded."""
    if encoding.startswith(_STATEFUL):
        return False
    try:
        return _ASCII.decode(encoding) == _ASCII.decode("ascii")
    except UnicodeError:
        return False


# -- CSV ----------------------------------------------------------------------------------------------------------


def csv_records(chunks: Iterable[bytes], key: Sequence[str], layout: Layout = PLAIN) -> Iterator[Record]:
    """Yield the rows of a CSV file: text as it stands, an empty cell as None, a quoted empty one as "".

    Args:
        chunks: The file's bytes.
        key: Columns that must be there.
        layout: How the file is laid out.

    Raises:
        FileProblem: No header, a repeated column, or a key column that is not there.
    """
    source = Lines(chunks, layout.encoding)
    for _ in range(layout.skip_rows):
        source.take()
    header = next(_split(source, layout.delimiter), None)
    if header is None:
        raise FileProblem("the file is empty: not even a header")
    return records_of(header, _split(source, header.delimiter), key, layout)


def records_of(header: Cells, rows: Iterable[Cells], key: Sequence[str], layout: Layout) -> Iterator[Record]:
    """Yield rows of cells as records, without the footer and without totals where the layout says so.

    Raises:
        FileProblem: A repeated column, or a key column that is not there.
    """
    names = _header(header, key, layout)
    held: deque[Cells] = deque()
    for row in rows:
        held.append(row)
        if len(held) > layout.skip_footer:
            yield _record(names, held.popleft(), layout)
    for row in held:
        yield Record(row.line, row.raw, None, left_out="row(s) of the footer")


def _record(names: Sequence[str], row: Cells, layout: Layout) -> Record:
    if row.reason:
        return Record(row.line, row.raw, None, row.reason)
    if row.fields and layout.is_total(row.fields[0]):
        return Record(row.line, row.raw, None, left_out="row(s) of totals")
    if len(row.fields) != len(names):
        said = f"{len(row.fields)} fields where the header has {len(names)}"
        return Record(row.line, row.raw, None, said)
    return Record(row.line, row.raw, dict(zip(names, row.fields, strict=True)))


@dataclass(slots=True)
class Cells:
    """One row as its cells.

    Attributes:
        line: Line it starts on, from 1.
        raw: Its bytes.
        fields: Its cells.
        reason: Why it cannot be read.
        delimiter: What stands between its cells.
    """

    line: int
    raw: bytes
    fields: list[Any]
    reason: str = ""
    delimiter: str = ","


def _split(source: Lines, delimiter: str | None) -> Iterator[Cells]:
    """Yield rows as cells; without a delimiter the first line decides it."""
    while (taken := source.take()) is not None:
        number, line = source.number, source.trimmed(taken)
        if not line:
            continue
        try:
            text = source.text(line)
        except ValueError as error:
            yield Cells(number, line, [], str(error))
            continue
        chosen = delimiter or max(_DELIMITERS, key=text.count)
        if '"' not in text and source.other in line:
            yield Cells(number, line, [], _MIXED_ENDS, chosen)
        elif '"' not in text:
            yield Cells(number, line, [cell or None for cell in text.split(chosen)], "", chosen)
        else:
            yield _quoted(source, number, taken, chosen)


def _quoted(source: Lines, number: int, first: bytes, delimiter: str) -> Cells:
    """Read a row with quotes, over as many lines as its quotes span."""
    taken = [first]
    while True:
        raw = source.trimmed(source.end.join(taken))
        try:
            fields = split_cells(source.text(raw), delimiter, source.other.decode())
        except ValueError as error:
            source.give_back(taken[1:])
            return Cells(number, source.trimmed(first), [], str(error), delimiter)
        if fields is not None:
            return Cells(number, raw, fields, "", delimiter)
        line = source.take() if len(taken) < _MAX_QUOTED_LINES else None
        if line is None:
            # Only the line with the quote is lost to it: what follows is read on its own.
            source.give_back(taken[1:])
            return Cells(number, source.trimmed(first), [], "a quote is opened and never closed", delimiter)
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


def _header(record: Cells, key: Sequence[str], layout: Layout) -> list[str]:
    if record.reason:
        raise FileProblem(f"the header cannot be read: {record.reason}")
    names = ["" if name is None else str(name) for name in record.fields]
    if layout.duplicate_headers == "number":
        names = numbered(names)
    repeated = sorted({name for name in names if name and names.count(name) > 1})
    if repeated:
        raise FileProblem(
            f"the header names a column twice: {', '.join(map(repr, repeated))}; see `duplicate_headers`, `skip_rows`"
        )
    if any(not name or "\x00" in name for name in names):
        raise FileProblem("the header has a column without a usable name; see `duplicate_headers`, `skip_rows`")
    _check_key(names, key)
    return names


def numbered(names: Sequence[str]) -> list[str]:
    """Return names of which each is there once: a later `a` is `a_2`, the third without a name `column_3`."""
    found: list[str] = []
    for number, name in enumerate(names, start=1):
        base = name or f"column_{number}"
        made, count = base, 1
        while made in found or (made != name and made in names):
            count += 1
            made = f"{base}_{count}"
        found.append(made)
    return found


def _check_key(names: Sequence[str], key: Sequence[str]) -> None:
    missing = [name for name in key if name not in names]
    if missing:
        raise FileProblem(f"the key column {', '.join(missing)} is not in the file")
    if "_id" in names and tuple(key) != ("_id",):
        raise FileProblem("a column is called _id, which only the key can be: make it the key")


# -- JSON lines ---------------------------------------------------------------------------------------------------

_NUMBER_WITH_FRACTION = re.compile(r"[.eE]")


def json_records(chunks: Iterable[bytes], key: Sequence[str], layout: Layout = PLAIN) -> Iterator[Record]:
    """Yield the objects of a JSON-lines file; numbers with a fraction stay exact decimals.

    Args:
        chunks: The file's bytes.
        key: Fields that identify a row (their presence is the caller's to check).
        layout: How the file is laid out.

    Raises:
        FileProblem: Broken gzip or UTF-16.
    """
    source = Lines(chunks, layout.encoding)
    while (taken := source.take()) is not None:
        number, line = source.number, source.trimmed(taken)
        if not line.strip():
            continue
        try:
            value = json.loads(
                source.text(line),
                parse_float=exact_number,
                parse_int=exact_number,
                parse_constant=float,
                object_pairs_hook=_object,
            )
        except (ValueError, RecursionError) as error:
            said = str(error)
            yield Record(number, line, None, said if said.startswith("not valid") else f"not valid JSON: {said}")
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
    return _short_number(text) if len(text) <= _DECIMAL128_DIGITS else _number(text)


def exact_integer(text: str) -> int | Decimal128 | str:
    """Return the same of a number without fraction and exponent."""
    return int(text) if len(text) < _SURE_DIGITS and text != "-0" else exact_number(text)


def _number(text: str) -> int | Decimal128 | str:
    # -0 is no integer: the sign would be lost.
    if not _NUMBER_WITH_FRACTION.search(text) and len(text) <= 20 and text != "-0" and int(text) in _INT64:
        return int(text)
    plain = _PLAIN_FRACTION.match(text)
    if plain is not None and len(text) <= _DECIMAL128_DIGITS:
        return _plain_decimal(*plain.groups())
    number = Decimal(text)
    exponent = number.as_tuple().exponent
    if len(number.as_tuple().digits) > _DECIMAL128_DIGITS or not -6_143 <= int(exponent) <= 6_111:
        return text
    return Decimal128(number)


# The numbers of reports repeat: zeros, rates, prices. Long ones would fill the memory.
_short_number = lru_cache(maxsize=1 << 14)(_number)


def _plain_decimal(sign: str, whole: str, fraction: str) -> Decimal128:
    """Return what `Decimal128` makes of a number without an exponent, at a fifth of the time."""
    coefficient = int(whole + fraction)
    high = (_DECIMAL128_BIAS - len(fraction)) << 49 | coefficient >> 64
    return Decimal128.from_bid(_BID.pack(coefficient & 0xFFFF_FFFF_FFFF_FFFF, high | 1 << 63 if sign else high))


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} occurs twice")
    return made
