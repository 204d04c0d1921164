"""The decoder where no compiler is: the driver's C code decodes, and encoding again proves that nothing was lost.

A document that the driver gives back to the byte has no repeated key, no invalid text and no type that Python does not
know: its values go straight to their columns. Every other document, a handful in practice, takes the way of the
reference. Both give the same to the bit.
"""

from __future__ import annotations

from collections import deque
from typing import Any
from uuid import UUID

import bson
import xxhash
from bson.binary import UuidRepresentation
from bson.code import Code
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.objectid import ObjectId

from tasks.landing.decoder import MAX_NESTING
from tasks.landing.decoder import extended_json as ejson
from tasks.landing.decoder.bson_walk import Span
from tasks.landing.decoder.reference import MAX_DOCUMENT_BYTES, Node, ReferenceDecoder, Table, variable

_OPTIONS: CodecOptions[dict[str, Any]] = CodecOptions(
    document_class=dict,
    uuid_representation=UuidRepresentation.STANDARD,
    datetime_conversion=DatetimeConversion.DATETIME_MS,
)
# Type byte, key, its zero, and the length of the document around them: seven bytes a level at the least.
_NESTED_BYTES = MAX_NESTING * 7
_KEY = "v"
_VALUE_AT = 4 + 1 + len(_KEY) + 1

# An array whose elements become rows of a child table, the row that it hangs on, and the positions that lead to it.
_Task = tuple["DriverTable", list[Any], str, str]


def _decode(part: bytes) -> dict[str, Any] | None:
    """Return a document, None unless Python's values hold all of it."""
    try:
        document = bson.decode(part, _OPTIONS)
        return document if "_id" in document and bson.encode(document, codec_options=_OPTIONS) == part else None
    except (bson.errors.BSONError, ValueError, OverflowError, TypeError, RecursionError):
        return None


def _encoded(value: Any) -> tuple[bytes, Span]:
    """Return a value's BSON: type, start and end."""
    raw = bson.encode({_KEY: value}, codec_options=_OPTIONS)
    return raw, (raw[4], _VALUE_AT, len(raw) - 1)


def _json(value: Any) -> str:
    """Return a value as extended JSON."""
    kind = value.__class__
    if kind is dict:
        return "{" + ",".join([f"{ejson.quote(key)}:{_json(item)}" for key, item in value.items()]) + "}"
    if kind is list:
        return "[" + ",".join([_json(item) for item in value]) + "]"
    if kind is str:
        return ejson.quote(value)
    if kind is int or kind is Int64:
        return str(value)
    if kind is float:
        return ejson.double_text(value)
    if kind is ObjectId:
        return f'{{"$oid":"{value.binary.hex()}"}}'
    raw, span = _encoded(value)
    return ejson.value_text(raw, *span)


class _Unclear(Exception):
    """A document whose shape only its bytes tell."""


def _measure(document: dict[str, Any]) -> tuple[int, int]:
    """Return the elements of the widest part of a document, as `walk.Check` counts them, and its depth.

    Raises:
        _Unclear: Code may have a scope of its own, which counts in both.
    """
    width = deepest = 0
    parts: list[tuple[dict[str, Any], int]] = [(document, 0)]
    while parts:
        unit, count = [parts.pop()], 0
        while unit:
            part, level = unit.pop()
            count += len(part)
            deepest = max(deepest, level)
            for value in part.values():
                if isinstance(value, dict):
                    unit.append((value, level + 1))
                elif isinstance(value, list):
                    deepest = max(deepest, _elements(value, level + 1, parts))
                elif isinstance(value, Code):
                    raise _Unclear
        width = max(width, count)
    return width, deepest


def _elements(values: list[Any], level: int, parts: list[tuple[dict[str, Any], int]]) -> int:
    """Add the documents of an array, each a part of its own; return how deep arrays alone go."""
    deepest, arrays = level, [(values, level)]
    while arrays:
        array, level = arrays.pop()
        deepest = max(deepest, level)
        for value in array:
            if isinstance(value, dict):
                parts.append((value, level + 1))
            elif isinstance(value, list):
                arrays.append((value, level + 1))
            elif isinstance(value, Code):
                raise _Unclear
    return deepest


class DriverTable(Table):
    """A table that takes Python's values."""

    def mapping(self, document: dict[str, Any], parent: Node, found: list[tuple[Node, list[Any]]]) -> None:
        """Add the fields of a document under `parent`."""
        children, row = parent.children, self.row
        for key, value in document.items():
            node = children.get(key) or self.new_node(parent, key)
            if node is None:
                self.set_aside(parent.below(key), _json(value))
                continue
            node.row = row
            kind = value.__class__
            if kind is str:
                self._text(node, "string", value)
            elif kind is dict:
                self._document(node, value, found)
            else:
                self.value(node, value, found)

    def value(self, node: Node, value: Any, found: list[tuple[Node, list[Any]]]) -> None:  # noqa: C901  one branch a type
        """Add one value at its node."""
        kind = value.__class__
        if kind is int:
            self._hold(node, "int", "int32", value)
        elif kind is float:
            self._hold(node, "double", "double", value)
        elif kind is bool:
            self._hold(node, "bool", "bool", value)
        elif kind is DatetimeMS:
            self._hold(node, "date", "date", int(value))
        elif value is None:
            node.types["null"] += 1
        elif kind is ObjectId:
            self._hold(node, "objectid", "objectid", value.binary.hex(), 24)
        elif kind is Decimal128:
            text = ejson.decimal_text(value.bid)
            self._hold(node, "decimal", "decimal", text, variable(len(text)))
        elif kind is Int64:
            self._hold(node, "int", "int64", int(value))
        elif kind is str:
            self._text(node, "string", value)
        elif kind is dict:
            self._document(node, value, found)
        elif kind is list:
            self._array(node, value, found)
        elif kind is UUID:
            self._hold(node, "uuid", "uuid", str(value), 36)
        elif kind is bytes:
            node.empty += self._hold(node, "binary", "binary", value, variable(len(value))) and not value
        else:
            raw, span = _encoded(value)
            self.first(raw, node, span, [])

    def _text(self, node: Node, column: str, text: str) -> None:
        size = len(text) if text.isascii() else len(text.encode())
        if self._hold(node, column, "string", text, variable(size)) and not text:
            node.empty += 1

    def _document(self, node: Node, value: dict[str, Any], found: list[tuple[Node, list[Any]]]) -> None:
        if value and node.depth < self.decoder.max_depth:
            self.mapping(value, node, found)
            node.types["document"] += 1
        else:
            self._json(node, "document", value)

    def _array(self, node: Node, value: list[Any], found: list[tuple[Node, list[Any]]]) -> None:
        if node.child is None:
            self._json(node, "array", value)
        else:
            found.append((node, value))
            node.types["array"] += 1
            node.empty += not value

    def _json(self, node: Node, name: str, value: Any) -> None:
        text = _json(value)
        size = len(text) if text.isascii() else len(text.encode())
        node.empty += self._hold(node, "json", name, text, variable(size)) and not value

    def _hold(self, node: Node, column: str, name: str, held: Any, size: int = 0) -> bool:
        """Add a value to its column and count it; False if it was set aside."""
        values = node.columns.get(column)
        if values is None:
            values = self.new_column(node, column)
            if values is None:
                # What a child table sets aside for its size is rare: its bytes are told from the column's own value.
                self.set_aside(node.path, _held_json(column, held))
                return False
        gap = self.rows - 1 - len(values)
        if gap:
            values.extend([None] * gap)
        values.append(held)
        self.variable += size
        node.types[name] += 1
        return True


def _held_json(column: str, held: Any) -> str:
    match column:
        case "objectid":
            return _json(ObjectId(held))
        case "decimal":
            return _json(Decimal128(held))
        case "date":
            return _json(DatetimeMS(held))
        case "uuid":
            return _json(UUID(held))
        case "json":
            return str(held)
    return _json(held)


class DriverDecoder(ReferenceDecoder):
    """See `tasks.landing.decoder.Decoder` and `make_decoder`."""

    table_type = DriverTable

    def _take(self, raw: bytes, start: int, end: int, op: str, *, bounded: bool) -> bool:
        if op == "u" and end - start <= MAX_DOCUMENT_BYTES:
            part = raw[start:end]
            document = _decode(part)
            if document is not None:
                try:
                    if self._must_wait(part, document, bounded=bounded):
                        return False
                    self._decoded_row(part, document)
                    return True
                except _Unclear:
                    pass
        return super()._take(raw, start, end, op, bounded=bounded)

    def _must_wait(self, part: bytes, document: dict[str, Any], *, bounded: bool) -> bool:
        """Return whether a flush must come first; a document holds at most one element in two of its bytes.

        Raises:
            _Unclear: The document is for the reference to judge.
        """
        may_burst = bounded and self.would_burst(len(part) // 2)
        if not may_burst and len(part) < _NESTED_BYTES:
            return False
        width, depth = _measure(document)
        if depth > MAX_NESTING:
            raise _Unclear
        return may_burst and self.would_burst(width)

    def _decoded_row(self, part: bytes, document: dict[str, Any]) -> None:
        table = self._rows
        assert isinstance(table, DriverTable)  # noqa: S101  tells the type checker what `table_type` says
        found: list[tuple[Node, list[Any]]] = []
        key = self._key(table, document["_id"])
        table.begin()
        table.total_rows += 1
        del document["_id"]
        table.mapping(document, table.root, found)
        table.end(_id=key, _op="u", _hash=xxhash.xxh3_128_digest(part, seed=self._seed))
        tasks: deque[_Task] = deque((self._child(node), values, key, "") for node, values in found)
        while tasks:
            self._decoded_children(key, tasks.popleft(), tasks)

    def _child(self, node: Node) -> DriverTable:
        table = self.tables[node.child or ""]
        assert isinstance(table, DriverTable)  # noqa: S101  as above
        return table

    def _key(self, table: DriverTable, value: Any) -> str:
        """Return the text of `_id` and count it."""
        raw, span = _encoded(value)
        table.count_key(raw, span)
        return value.binary.hex() if value.__class__ is ObjectId else ejson.key_text(raw, *span)

    def _decoded_children(self, root: str, task: _Task, tasks: deque[_Task]) -> None:
        table, values, parent, within = task
        for position, value in enumerate(values):
            found: list[tuple[Node, list[Any]]] = []
            positions = f"{within}.{position}" if within else str(position)
            key = f"{root}:{positions}"
            table.begin()
            table.total_rows += 1
            fields = value if isinstance(value, dict) and value else {"value": value}
            table.mapping(fields, table.root, found)
            table.end(_id=key, _root_id=root, _parent_id=parent, _position=position)
            tasks.extend((self._child(node), inner, key, positions) for node, inner in found)
