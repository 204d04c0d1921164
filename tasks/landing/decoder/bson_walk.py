"""Raw BSON by the letter of its specification: checking documents and walking their elements."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from tasks.landing.decoder import MAX_NESTING

DOUBLE, STRING, DOCUMENT, ARRAY, BINARY, UNDEFINED, OBJECTID, BOOL, DATE, NULL, REGEX = range(1, 12)
DBPOINTER, CODE, SYMBOL, CODE_WITH_SCOPE, INT32, TIMESTAMP, INT64, DECIMAL = range(12, 20)
MAXKEY, MINKEY = 0x7F, 0xFF

INT32_FORMAT = struct.Struct("<i")
INT64_FORMAT = struct.Struct("<q")
DOUBLE_FORMAT = struct.Struct("<d")

_FIXED = {
    DOUBLE: 8,
    UNDEFINED: 0,
    OBJECTID: 12,
    BOOL: 1,
    DATE: 8,
    NULL: 0,
    INT32: 4,
    TIMESTAMP: 8,
    INT64: 8,
    DECIMAL: 16,
    MAXKEY: 0,
    MINKEY: 0,
}
_TEXTS = (STRING, CODE, SYMBOL)
_SMALLEST_DOCUMENT = 5
NO_ID = "no _id"

# Type, key, start and end of the value.
Element = tuple[int, bytes, int, int]
# Type, start and end of a value within bytes.
Span = tuple[int, int, int]


class Malformed(Exception):
    """A document breaks the specification; `segments` is the path to it, innermost first."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.segments: list[str] = []


def escape_key(key: str) -> str:
    """Return a key as one segment of a path."""
    return key.replace("\\", "\\\\").replace(".", "\\.").replace("|", "\\|")


def elements(raw: bytes, start: int) -> Iterator[Element]:
    """Yield the elements of a document or array that `check` has found sound."""
    end = start + INT32_FORMAT.unpack_from(raw, start)[0] - 1
    position = start + 4
    while position < end:
        kind = raw[position]
        key_end = raw.index(0, position + 1)
        value_end = _end_of(raw, kind, key_end + 1)
        yield kind, raw[position + 1 : key_end], key_end + 1, value_end
        position = value_end


def _end_of(raw: bytes, kind: int, start: int) -> int:
    if kind in _FIXED:
        return start + _FIXED[kind]
    if kind == REGEX:
        return raw.index(0, raw.index(0, start) + 1) + 1
    size: int = INT32_FORMAT.unpack_from(raw, start)[0]
    if kind in _TEXTS:
        return start + 4 + size
    if kind == BINARY:
        return start + 5 + size
    if kind == DBPOINTER:
        return start + 4 + size + 12
    return start + size


class Check:
    """Checks one document before anything of it is used, so that a bad one leaves no trace but its reject.

    Attributes:
        id_element: The first top-level `_id` that was sound, for naming a rejected document.
        width: Elements of the widest document, its own documents included, arrays' documents each by themselves: one
            row can touch no more columns.
    """

    def __init__(self, raw: bytes, start: int) -> None:
        self.id_element: Element | None = None
        self.width = 0
        self._unit = 0
        self._raw = raw
        self._start = start

    def run(self) -> None:
        """Raise `Malformed` unless the document is sound and has an `_id`."""
        size = INT32_FORMAT.unpack_from(self._raw, self._start)[0]
        self._document(self._start, self._start + size, 0, False)
        self.width = max(self.width, self._unit)
        if self.id_element is None:
            raise Malformed(NO_ID)

    def _document(self, start: int, limit: int, level: int, is_array: bool) -> int:
        raw = self._raw
        if level > MAX_NESTING:
            raise Malformed(f"nested deeper than {MAX_NESTING} levels")
        if limit - start < _SMALLEST_DOCUMENT:
            raise Malformed("document is cut off")
        size = INT32_FORMAT.unpack_from(raw, start)[0]
        if size < _SMALLEST_DOCUMENT or size > limit - start:
            raise Malformed("document length is wrong")
        end: int = start + size - 1
        if raw[end] != 0:
            raise Malformed("document does not end with a zero byte")
        position, index = start + 4, 0
        while position < end:
            position = self._element(position, end, level, index if is_array else None)
            index += 1
        return end + 1

    def _element(self, position: int, end: int, level: int, index: int | None) -> int:
        raw = self._raw
        kind = raw[position]
        if kind == 0:
            raise Malformed("document ends before its length")
        key_end = raw.find(0, position + 1, end)
        if key_end < 0:
            raise Malformed("key has no end")
        key = raw[position + 1 : key_end]
        if index is None:
            self._unit += 1
            _check_key(key)
        value = self._value if index is None else self._unit_of_its_own
        try:
            value_end = value(kind, key_end + 1, end, level)
        except Malformed as error:
            error.segments.append(escape_key(key.decode()) if index is None else str(index))
            raise
        if level == 0 and self.id_element is None and key == b"_id":
            self.id_element = (kind, key, key_end + 1, value_end)
        return value_end

    def _unit_of_its_own(self, kind: int, start: int, end: int, level: int) -> int:
        outer, self._unit = self._unit, 0
        value_end = self._value(kind, start, end, level)
        self.width = max(self.width, self._unit)
        self._unit = outer
        return value_end

    def _value(self, kind: int, start: int, end: int, level: int) -> int:
        if kind in _FIXED:
            return self._fixed(kind, start, end)
        if kind in _TEXTS:
            return self._text(start, end)
        if kind in (DOCUMENT, ARRAY):
            return self._document(start, end, level + 1, kind == ARRAY)
        if kind == BINARY:
            return self._binary(start, end)
        if kind == REGEX:
            return self._cstring(self._cstring(start, end), end)
        if kind == DBPOINTER:
            return self._fixed(OBJECTID, self._text(start, end), end)
        if kind == CODE_WITH_SCOPE:
            return self._code_with_scope(start, end, level)
        raise Malformed(f"unknown type 0x{kind:02x}")

    def _fixed(self, kind: int, start: int, end: int) -> int:
        if _FIXED[kind] > end - start:
            raise Malformed("value is cut off")
        if kind == BOOL and self._raw[start] > 1:
            raise Malformed("boolean is neither 0 nor 1")
        return start + _FIXED[kind]

    def _length(self, start: int, end: int) -> int:
        if end - start < 4:
            raise Malformed("value is cut off")
        return int(INT32_FORMAT.unpack_from(self._raw, start)[0])

    def _text(self, start: int, end: int) -> int:
        size = self._length(start, end)
        if size < 1 or size > end - start - 4:
            raise Malformed("string length is wrong")
        if self._raw[start + 3 + size] != 0:
            raise Malformed("string does not end with a zero byte")
        return start + 4 + size

    def _cstring(self, start: int, end: int) -> int:
        found = self._raw.find(0, start, end)
        if found < 0:
            raise Malformed("value is cut off")
        return found + 1

    def _binary(self, start: int, end: int) -> int:
        size = self._length(start, end)
        if size < 0 or size > end - start - 5:
            raise Malformed("binary length is wrong")
        if self._raw[start + 4] == 2 and (size < 4 or self._length(start + 5, end) != size - 4):
            raise Malformed("binary length is wrong")
        return start + 5 + size

    def _code_with_scope(self, start: int, end: int, level: int) -> int:
        size = self._length(start, end)
        if size < 4 or size > end - start:
            raise Malformed("code length is wrong")
        scope = self._text(start + 4, start + size)
        if self._document(scope, start + size, level + 1, False) != start + size:
            raise Malformed("code length is wrong")
        return start + size


def _check_key(key: bytes) -> None:
    try:
        key.decode()
    except UnicodeDecodeError:
        raise Malformed("key is not valid UTF-8") from None
