"""Postgres names for document paths: kept as they are, made valid and distinct, and stable for ever once given.

Rules: the segments of a path are joined by `__`. Names are at most 63 bytes. Two names never differ in capitals alone,
since SQL written by hand and dbt fold them: the later gets a suffix made from its path. Names of our own columns and of
Postgres's system columns get a trailing `_`; `_document` is the whole document's.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

from tasks.landing.decoder import DOCUMENT

MAX_BYTES = 63
META = (
    "_id",
    "_root_id",
    "_parent_id",
    "_position",
    "_rescued",
    "_hash",
    "_batch_id",
    "_extracted_at",
    "_loaded_at",
    "_deleted_at",
    "_valid_from",
    "_valid_to",
    "_op",
    "_seq",
)
_DOCUMENT = "_document"
_RESERVED = frozenset((*META, _DOCUMENT, "ctid", "xmin", "xmax", "cmin", "cmax", "tableoid", "oid"))
_TAG_LENGTH = 8
_STORED_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")


def segments(path: str) -> list[str]:
    """Return the keys of a path, its escapes resolved."""
    keys: list[str] = []
    key: list[str] = []
    characters = iter(path)
    for character in characters:
        if character == "\\":
            key.append(next(characters, ""))
        elif character == ".":
            keys.append("".join(key))
            key = []
        else:
            key.append(character)
    return [*keys, "".join(key)]


def stored(path: str) -> str:
    """Return a path as Postgres can hold it; backslashes of keys come in pairs, so `landed` can undo it."""
    return path.replace("\x00", "\\u0000")


def landed(path: str) -> str:
    """Return the landed path of a stored one."""
    return _STORED_NUL.sub("\\1\x00", path)


def column_name(path: str, taken: Iterable[str]) -> str:
    """Return the column's name for a path.

    Args:
        path: As landed.
        taken: Names that are in use in the table.
    """
    if path == DOCUMENT:
        return _distinct(_DOCUMENT, path, {other.lower() for other in taken})
    # NUL cannot be in a BSON key, but keys of JSON files may hold anything.
    name = "__".join(segments(path.replace("\x00", ""))) or "_empty"
    if name.lower() in _RESERVED:
        name += "_"
    return _distinct(name, path, {other.lower() for other in taken} | _RESERVED)


def relation_name(source: str, table: str, child: str, taken: Iterable[str]) -> str:
    """Return the relation's name for a table or one of its arrays."""
    parts = [source, table, *(segments(child) if child else [])]
    return _distinct("__".join(parts), f"{source}.{table}:{child}", {other.lower() for other in taken})


def _distinct(name: str, origin: str, taken: set[str] | frozenset[str]) -> str:
    if len(name.encode()) <= MAX_BYTES and name.lower() not in taken:
        return name
    for attempt in range(1_000):
        tag = hashlib.blake2b(f"{origin}#{attempt}".encode(), digest_size=_TAG_LENGTH // 2).hexdigest()
        kept = name.encode()[: MAX_BYTES - _TAG_LENGTH - 2].decode(errors="ignore")
        candidate = f"{kept}__{tag}"
        if candidate.lower() not in taken:
            return candidate
    raise ValueError(f"no free name for {origin!r}")
