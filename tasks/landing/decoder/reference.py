"""The decoder in plain Python: the contract at its plainest."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl
import xxhash

from tasks.landing import kinds
from tasks.landing.decoder import DUPLICATES, KINDS, MAX_PATH_BYTES, MAX_PATHS, TYPE_KINDS, Decoded
from tasks.landing.decoder import bson_walk as walk
from tasks.landing.decoder import extended_json as ejson

# Bytes a row takes in a dense column: Arrow's value or 16-byte view, and its share of the validity bitmap rounded up.
WIDTHS = {kind: 17 for kind in KINDS} | {"int": 9, "double": 9, "date": 9, "bool": 1}
_VIEW = 17
# Views hold texts up to this many bytes themselves.
_INLINE = 12
_HASH = _VIEW + 16
# Before a document that might bring so many new columns that pending rows would take this many times `max_bytes`, stop.
_OVERSHOOT = 4
# Child rows of a single document cannot be cut; past this, columns new to the batch are set aside.
_CHILD_LIMIT = 256 << 20
# As the native decoder: Arrow's views address 4 GiB, and extended JSON can be ten times the size of its BSON.
_MAX_RAW_BYTES = (1 << 31) - 1
MAX_DOCUMENT_BYTES = 256 << 20

_FIXED_NAMES = {
    walk.DOUBLE: "double",
    walk.DOCUMENT: "document",
    walk.ARRAY: "array",
    walk.UNDEFINED: "undefined",
    walk.OBJECTID: "objectid",
    walk.BOOL: "bool",
    walk.DATE: "date",
    walk.NULL: "null",
    walk.REGEX: "regex",
    walk.DBPOINTER: "dbpointer",
    walk.CODE: "code",
    walk.SYMBOL: "symbol",
    walk.CODE_WITH_SCOPE: "code_with_scope",
    walk.INT32: "int32",
    walk.TIMESTAMP: "timestamp",
    walk.INT64: "int64",
    walk.DECIMAL: "decimal",
    walk.MAXKEY: "maxkey",
    walk.MINKEY: "minkey",
}
_EMPTY_SIZES = {walk.DOCUMENT: 5, walk.ARRAY: 5, walk.STRING: 5}


def variable(size: int) -> int:
    """Return the bytes that a text takes beside its view."""
    return size if size > _INLINE else 0


def _text_bytes(text: str | None) -> int:
    return variable(len(text.encode())) if text is not None else 0


def _type_name(raw: bytes, kind: int, start: int, end: int) -> str:
    if kind == walk.STRING:
        try:
            raw[start + 4 : end - 1].decode()
        except UnicodeDecodeError:
            return "string_invalid"
        return "string"
    if kind == walk.BINARY:
        subtype, size = raw[start + 4], end - start - 5
        if subtype == 0:
            return "binary"
        return "uuid" if subtype == 4 and size == 16 else "binary_other"
    return _FIXED_NAMES[kind]


def _is_empty(raw: bytes, kind: int, start: int, end: int) -> bool:
    if kind == walk.BINARY:
        return end - start == (9 if raw[start + 4] == 2 else 5)
    return end - start == _EMPTY_SIZES.get(kind)


def _column_value(raw: bytes, name: str, kind: int, start: int, end: int) -> Any:
    """Return a value as its column holds it."""
    match name:
        case "int":
            return int.from_bytes(raw[start:end], "little", signed=True)
        case "double":
            return walk.DOUBLE_FORMAT.unpack_from(raw, start)[0]
        case "date":
            return walk.INT64_FORMAT.unpack_from(raw, start)[0]
        case "bool":
            return bool(raw[start])
        case "decimal":
            return ejson.decimal_text(raw[start:end])
        case "string":
            return raw[start + 4 : end - 1].decode()
        case "objectid":
            return raw[start:end].hex()
        case "uuid":
            return ejson.value_text(raw, kind, start, end)[10:46]
        case "binary":
            return raw[start + 5 : end]
    return ejson.value_text(raw, kind, start, end)


@dataclass(eq=False)
class Node:
    """A path of a table: its values' columns in this batch, its statistics over the decoder's life."""

    path: str
    depth: int
    child: str | None = None
    row: int = -1
    children: dict[str, Node] = field(default_factory=dict)
    columns: dict[str, list[Any]] = field(default_factory=dict)
    types: Counter[str] = field(default_factory=Counter)
    empty: int = 0

    def below(self, key: str) -> str:
        """Return the path of a key below this one."""
        segment = walk.escape_key(key)
        return f"{self.path}.{segment}" if self.depth else segment


@dataclass(eq=False)
class _Task:
    """An array whose elements become rows of a child table."""

    table: Table
    start: int
    root_id: str
    parent_id: str
    positions: str


class Table:
    """Rows of one table: the frame being built and its tree of paths."""

    def __init__(self, path: str, decoder: ReferenceDecoder) -> None:
        self.path = path
        self.decoder = decoder
        self.root = Node("", 0)
        self.nodes: list[Node] = []
        self.total_rows = self.deletes = self.overflow = 0
        self.row = -1
        self._rescued: dict[tuple[str, bool], list[str]] = {}
        self.clear()

    def clear(self) -> None:
        """Start a new batch."""
        self.rows = self.variable = 0
        self.meta: dict[str, list[Any]] = {name: [] for name in self.decoder.meta_names(self.path)}
        self.width = self.decoder.meta_width(self.path)
        for node in self.nodes:
            node.columns = {}

    @property
    def pending_bytes(self) -> int:
        """Dense size of the batch."""
        return self.rows * self.width + self.variable

    def begin(self) -> None:
        """Start a row."""
        self.rows += 1
        self.row += 1
        self._rescued = {}

    def end(self, **meta: Any) -> None:
        """Finish a row with its meta columns."""
        meta["_rescued"] = self._rescued_text()
        for name, values in self.meta.items():
            value = meta[name]
            values.append(value)
            if isinstance(value, bytes):
                self.variable += variable(len(value))
            elif isinstance(value, str):
                self.variable += _text_bytes(value)

    def document(self, raw: bytes, start: int, node: Node, tasks: list[tuple[Node, int]]) -> None:
        """Add the fields of a document under `node`."""
        for kind, key, at, end in walk.elements(raw, start):
            self.field(raw, node, key, (kind, at, end), tasks)

    def field(self, raw: bytes, parent: Node, key: bytes, value: walk.Span, tasks: list[tuple[Node, int]]) -> None:
        """Add one field."""
        kind, start, end = value
        name = key.decode()
        node = parent.children.get(name) or self.new_node(parent, name)
        if node is None:
            self.set_aside(parent.below(name), ejson.value_text(raw, kind, start, end))
        elif node.row == self.row:
            self._rescue(node.path, ejson.value_text(raw, kind, start, end), repeated=True)
        else:
            node.row = self.row
            self.first(raw, node, value, tasks)

    def set_aside(self, path: str, text: str) -> None:
        """Keep a value that a limit leaves without a column."""
        self.overflow += 1
        self._rescue(path, text, repeated=(path, False) in self._rescued)

    def new_node(self, parent: Node, key: str) -> Node | None:
        """Return the node of a new key; None past the limits on paths."""
        path = parent.below(key)
        if len(self.nodes) >= MAX_PATHS or len(path.encode()) > MAX_PATH_BYTES:
            return None
        return self.add_node(parent, key, path)

    def add_node(self, parent: Node, key: str, path: str) -> Node:
        """Add a path to the tree."""
        full = f"{self.path}.{path}" if self.path else path
        node = Node(path, parent.depth + 1, full if full and full in self.decoder.tables else None)
        parent.children[key] = node
        self.nodes.append(node)
        return node

    def count_key(self, raw: bytes, value: walk.Span) -> None:
        """Count the `_id` of a document, which has no column of its own."""
        self.nodes[0].types[_type_name(raw, *value)] += 1
        self.nodes[0].empty += _is_empty(raw, *value)

    def first(self, raw: bytes, node: Node, value: walk.Span, tasks: list[tuple[Node, int]]) -> None:
        """Add the first value that a row has at a path."""
        kind, start, end = value
        name = _type_name(raw, kind, start, end)
        empty = _is_empty(raw, kind, start, end)
        if self._is_key(node):
            column = None
        elif kind == walk.DOCUMENT and not empty and node.depth < self.decoder.max_depth:
            column = None
            self.document(raw, start, node, tasks)
        elif kind == walk.DOCUMENT:
            column = "json"
        elif kind == walk.ARRAY and node.child is not None:
            column = None
            tasks.append((node, start))
        else:
            column = TYPE_KINDS[name]
        if column is not None and not self._put(raw, node, column, value):
            return
        node.types[name] += 1
        node.empty += empty

    def _is_key(self, node: Node) -> bool:
        return not self.path and node is self.nodes[0]

    def _put(self, raw: bytes, node: Node, column: str, value: walk.Span) -> bool:
        kind, start, end = value
        values = node.columns.get(column)
        if values is None:
            values = self.new_column(node, column)
        if values is None:
            self.set_aside(node.path, ejson.value_text(raw, kind, start, end))
            return False
        held = _column_value(raw, column, kind, start, end)
        values.extend([None] * (self.rows - 1 - len(values)))
        values.append(held)
        if isinstance(held, str):
            self.variable += _text_bytes(held)
        elif isinstance(held, bytes):
            self.variable += variable(len(held))
        return True

    def new_column(self, node: Node, column: str) -> list[Any] | None:
        """Return a column new to the batch; None where it would take too much memory."""
        width = self.width + WIDTHS[column]
        if self.path and self.rows * width > self.decoder.child_limit:
            return None
        self.width = width
        node.columns[column] = []
        return node.columns[column]

    def _rescue(self, path: str, text: str, *, repeated: bool) -> None:
        self._rescued.setdefault((path, repeated), []).append(text)

    def _rescued_text(self) -> str | None:
        if not self._rescued:
            return None
        parts = [
            f"{ejson.quote(path + DUPLICATES)}:[{','.join(texts)}]" if repeated else f"{ejson.quote(path)}:{texts[0]}"
            for (path, repeated), texts in self._rescued.items()
        ]
        return "{" + ",".join(parts) + "}"

    def frame(self) -> pl.DataFrame:
        """Return the batch as a frame."""
        columns = [_meta_series(name, values) for name, values in self.meta.items()]
        for node in self.nodes:
            for kind in KINDS:
                if kind in node.columns:
                    values = node.columns[kind] + [None] * (self.rows - len(node.columns[kind]))
                    columns.append(_series(f"{node.path}|{kind}", kind, values))
        return pl.DataFrame(columns)

    def statistics(self) -> dict[str, Any]:
        """Return the statistics over the decoder's life."""
        fields = {
            node.path: {
                "present": node.types.total(),
                "types": {name: node.types[name] for name in TYPE_KINDS if node.types[name]},
                "empty": node.empty,
            }
            for node in self.nodes
            if node.types
        }
        counts = {"rows": self.total_rows, "overflow": self.overflow, "fields": fields}
        return counts if self.path else counts | {"deletes": self.deletes}


def _meta_series(name: str, values: list[Any]) -> pl.Series:
    dtypes = {"_hash": pl.Binary, "_position": pl.Int64}
    return pl.Series(name, values, dtype=dtypes.get(name, pl.String))


def _series(name: str, kind: str, values: list[Any]) -> pl.Series:
    dtype = kinds.KINDS[kind].dtype
    if kind == "date":
        return pl.Series(name, values, dtype=pl.Int64).cast(dtype)
    return pl.Series(name, values, dtype=dtype)


class ReferenceDecoder:
    """See `tasks.landing.decoder.Decoder` and `make_decoder`."""

    table_type = Table

    def __init__(
        self,
        *,
        children: Sequence[str] = (),
        max_depth: int = 8,
        seed: int = 0,
        max_bytes: int = 64 << 20,
        with_op: bool = False,
    ) -> None:
        if not 1 <= max_depth <= 64:
            raise ValueError("max_depth must be between 1 and 64")
        if not 0 <= seed < 1 << 64:
            raise ValueError("seed must have 64 bits")
        if max_bytes < 1:
            raise ValueError("max_bytes must be at least 1")
        if "" in children:
            raise ValueError("a child table needs a path")
        self.max_depth = max_depth
        self.child_limit = max(_OVERSHOOT * max_bytes, _CHILD_LIMIT)
        self._seed = seed
        self._max_bytes = max_bytes
        self._with_op = with_op
        self.tables = {path: self.table_type(path, self) for path in ("", *children)}
        self._rows = self.tables[""]
        # Made at once, so that no limit on paths can ever leave it out.
        self._rows.add_node(self._rows.root, "_id", "_id")
        self._rejects: list[tuple[str | None, str, str | None, str | None, bytes]] = []
        self._reject_bytes = 0

    def meta_names(self, path: str) -> tuple[str, ...]:
        """Return the meta columns of a table."""
        if path:
            return ("_id", "_root_id", "_parent_id", "_position", "_rescued")
        return ("_id", "_hash", "_op", "_rescued") if self._with_op else ("_id", "_hash", "_rescued")

    def meta_width(self, path: str) -> int:
        """Return the bytes that a row's meta columns take."""
        widths = {"_hash": _HASH, "_position": WIDTHS["int"]}
        return sum(widths.get(name, _VIEW) for name in self.meta_names(path))

    @property
    def pending_bytes(self) -> int:
        """See `Decoder`."""
        return sum(table.pending_bytes for table in self.tables.values()) + self._reject_bytes

    @property
    def pending_rows(self) -> int:
        """See `Decoder`."""
        return self._rows.rows

    def push(self, raw: bytes | memoryview, start: int = 0, op: str = "u") -> int:
        """See `Decoder`."""
        if op not in ("u", "d") or (op == "d" and not self._with_op):
            raise ValueError("op must be 'u', or 'd' with with_op")
        raw = _checked_bytes(raw)
        if not 0 <= start <= len(raw):
            raise ValueError("start lies outside of raw")
        position = start
        while position < len(raw):
            if self.pending_bytes >= self._max_bytes:
                break
            size = _size(raw, position)
            if size is None:
                self._reject(raw[position:], "length prefix is unusable")
                return len(raw)
            if not self._take(raw, position, position + size, op, bounded=True):
                break
            position += size
        return position

    def push_delete(self, id_document: bytes) -> None:
        """See `Decoder`."""
        if not self._with_op:
            raise ValueError("op must be 'u', or 'd' with with_op")
        raw = _checked_bytes(id_document)
        if _size(raw, 0) != len(raw):
            self._reject(raw, "length prefix is unusable")
        else:
            self._take(raw, 0, len(raw), "d", bounded=False)

    def _take(self, raw: bytes, start: int, end: int, op: str, *, bounded: bool) -> bool:
        """Decode one document; False if a flush must come first."""
        check = walk.Check(raw, start)
        try:
            if end - start > MAX_DOCUMENT_BYTES:
                raise walk.Malformed("document is larger than 256 MiB")
            check.run()
        except walk.Malformed as error:
            self._reject_document(raw[start:end], raw, check, error)
            return True
        if bounded and self.would_burst(check.width):
            return False
        if check.id_element is not None:
            kind, _, at, value_end = check.id_element
            key = ejson.key_text(raw, kind, at, value_end)
            if op == "d":
                self._rows.deletes += 1
                self._rows.begin()
                self._rows.end(_id=key, _op="d", _hash=None)
            else:
                self._row(raw, start, end, key)
        return True

    def would_burst(self, width: int) -> bool:
        """Return whether a document of so many elements could make what is pending too large."""
        rows = max(table.rows for table in self.tables.values())
        return self.pending_bytes + rows * width * _VIEW > _OVERSHOOT * self._max_bytes and self.pending_bytes > 0

    def _row(self, raw: bytes, start: int, end: int, key: str) -> None:
        table = self._rows
        found: list[tuple[Node, int]] = []
        table.begin()
        table.total_rows += 1
        table.document(raw, start, table.root, found)
        table.end(_id=key, _op="u", _hash=xxhash.xxh3_128_digest(raw[start:end], seed=self._seed))
        tasks = deque(_Task(self.tables[node.child or ""], at, key, key, "") for node, at in found)
        while tasks:
            self._child_rows(raw, tasks.popleft(), tasks)

    def _child_rows(self, raw: bytes, task: _Task, tasks: deque[_Task]) -> None:
        table = task.table
        for position, (kind, _, at, end) in enumerate(walk.elements(raw, task.start)):
            found: list[tuple[Node, int]] = []
            positions = f"{task.positions}.{position}" if task.positions else str(position)
            key = f"{task.root_id}:{positions}"
            table.begin()
            table.total_rows += 1
            if kind == walk.DOCUMENT and end - at > _EMPTY_SIZES[walk.DOCUMENT]:
                table.document(raw, at, table.root, found)
            else:
                table.field(raw, table.root, b"value", (kind, at, end), found)
            table.end(_id=key, _root_id=task.root_id, _parent_id=task.parent_id, _position=position)
            tasks.extend(
                _Task(self.tables[node.child or ""], start, task.root_id, key, positions) for node, start in found
            )

    def _reject_document(self, document: bytes, raw: bytes, check: walk.Check, error: walk.Malformed) -> None:
        key = text = None
        if check.id_element is not None:
            kind, _, at, end = check.id_element
            key = ejson.key_text(raw, kind, at, end)
        elif error.reason == walk.NO_ID:
            text = ejson.document_text(document, 0)
        self._reject(document, error.reason, key, ".".join(reversed(error.segments)) if error.segments else None, text)

    def _reject(
        self, raw: bytes, reason: str, key: str | None = None, path: str | None = None, text: str | None = None
    ) -> None:
        self._rejects.append((key, reason, path, text, raw))
        texts = sum(_text_bytes(part) for part in (key, reason, path, text))
        self._reject_bytes += 5 * _VIEW + texts + variable(len(raw))

    def flush(self) -> Decoded:
        """See `Decoder`."""
        frames = {path: table.frame() for path, table in self.tables.items() if not path or table.rows}
        names = {"_id": pl.String, "reason": pl.String, "path": pl.String, "document": pl.String, "bytes": pl.Binary}
        rejects = pl.DataFrame(self._rejects, schema=names, orient="row")
        for table in self.tables.values():
            table.clear()
        self._rejects, self._reject_bytes = [], 0
        return Decoded(frames, rejects)

    def stats(self) -> dict[str, Any]:
        """See `Decoder`."""
        return {path: table.statistics() for path, table in self.tables.items()}


def _checked_bytes(raw: bytes | memoryview) -> bytes:
    if len(raw) > _MAX_RAW_BYTES:
        raise ValueError("raw must be smaller than 2 GiB")
    return bytes(raw)


def _size(raw: bytes, position: int) -> int | None:
    """Return the length prefix at `position`, None if it cannot be right."""
    left = len(raw) - position
    if left < 5:
        return None
    size: int = walk.INT32_FORMAT.unpack_from(raw, position)[0]
    return size if 5 <= size <= left else None
