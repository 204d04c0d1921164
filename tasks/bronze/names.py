"""Names for document paths: kept as they are, made valid and distinct, and stable for ever once given.

Rules: the segments of a path are joined by `__`. Names are no longer than the destination takes. Two names never differ
in capitals alone, since SQL written by hand and dbt fold them: the later gets a suffix made from its path. Names of our
own columns and of the destination's get a trailing `_`; `_document` is the whole document's.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

from tasks.bronze.capabilities import POSTGRES, Capabilities
from tasks.landing.decoder import DOCUMENT

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
_RESERVED = frozenset((*META, _DOCUMENT))
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


def column_name(path: str, taken: Iterable[str], capabilities: Capabilities = POSTGRES) -> str:
    """Return the column's name for a path.

    Args:
        path: As landed.
        taken: Names that are in use in the table.
        capabilities: Of the destination.
    """
    most, reserved = capabilities.most_name_bytes, _RESERVED | capabilities.reserved_names
    if path == DOCUMENT:
        return _distinct(_DOCUMENT, path, {other.lower() for other in taken}, most)
    # NUL cannot be in a BSON key, but keys of JSON files may hold anything.
    name = "__".join(segments(path.replace("\x00", ""))) or "_empty"
    if name.lower() in reserved:
        name += "_"
    return _distinct(name, path, {other.lower() for other in taken} | reserved, most)


def relation_name(
    source: str, table: str, child: str, taken: Iterable[str], capabilities: Capabilities = POSTGRES
) -> str:
    """Return the relation's name for a table or one of its arrays."""
    parts = [source, table, *(segments(child) if child else [])]
    used = {other.lower() for other in taken}
    return _distinct("__".join(parts), f"{source}.{table}:{child}", used, capabilities.most_name_bytes)


def _distinct(name: str, origin: str, taken: set[str] | frozenset[str], most_bytes: int) -> str:
    if len(name.encode()) <= most_bytes and name.lower() not in taken:
        return name
    for attempt in range(1_000):
        tag = hashlib.blake2b(f"{origin}#{attempt}".encode(), digest_size=_TAG_LENGTH // 2).hexdigest()
        kept = name.encode()[: most_bytes - _TAG_LENGTH - 2].decode(errors="ignore")
        candidate = f"{kept}__{tag}"
        if candidate.lower() not in taken:
            return candidate
    raise ValueError(f"no free name for {origin!r}")
