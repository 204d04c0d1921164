"""Fields whose values are of another shape, and ids of another type."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import NamedTuple, TypeAlias

from tasks.drift.chance import is_gone

Classes: TypeAlias = dict[str, list[int]]
"""By class of values that are current how many there were, and how many values of others came since the last."""

_NO_SHAPE = ("null", "dropped", "json", "undefined")
_FLIPS = {
    ("document", "value"): "became_flat",
    ("value", "document"): "became_nested",
    ("document", "array"): "became_array",
    ("value", "array"): "became_array",
    ("array", "document"): "became_single",
    ("array", "value"): "became_single",
}
_ID_TYPES = {
    **dict.fromkeys(("int32", "int64", "int", "double", "decimal"), "number"),
    **{name: name for name in ("string", "objectid", "uuid", "binary")},
}
_ID = re.compile(r"(^|[^a-zA-Z])(id|uuid|guid)$|[a-z](Id|ID|Uuid|UUID|Guid)$")


class Arrival(NamedTuple):
    """A class of values that came to those that were there before."""

    before: str
    new: str


def arrival(known: Classes, seen: Mapping[str, int]) -> Arrival | None:
    """Return the class of values that none was of lately, beside the one that was most usual; None if there is none.

    A class that would hardly be missing so long by chance is no longer current, so that it can arrive again.

    Args:
        known: Of the batches before; becomes what is known after this one.
        seen: By class how many values of it the batch has.
    """
    usual = max(known, key=lambda name: known[name][0], default=None)
    new = [name for name in seen if name not in known]
    for name, count in seen.items():
        known[name] = [known.get(name, [0, 0])[0] + count, 0]
    every = sum(count for count, _ in known.values())
    for name in set(known) - set(seen):
        count, since = known[name][0], known[name][1] + sum(seen.values())
        known[name][1] = since
        if is_gone(count / max(every - since, count), since):
            del known[name]
    return Arrival(usual, new[0]) if usual and new else None


def flip(known: Classes, types: Mapping[str, int]) -> tuple[str, Arrival] | None:
    """Return the kind of change when values are of another shape: a plain value, a document or an array.

    Args:
        known: Of the batches before; becomes what is known after this one.
        types: The batch's count of values by type.
    """
    shapes: dict[str, int] = {}
    for name, count in types.items():
        if name not in _NO_SHAPE and count:
            shape = name if name in ("document", "array") else "value"
            shapes[shape] = shapes.get(shape, 0) + count
    found = arrival(known, shapes)
    return (_FLIPS[found], found) if found else None


def id_type_changed(known: Classes, path: str, types: Mapping[str, int]) -> Arrival | None:
    """Return the type of an id that none had lately; numbers of any width are one type.

    Args:
        known: Of the batches before; becomes what is known after this one.
        path: Of the field.
        types: The batch's count of values by type.
    """
    if not is_id(path, {*known, *types}):
        return None
    found: dict[str, int] = {}
    for name, count in types.items():
        if name in _ID_TYPES and count:
            found[_ID_TYPES[name]] = found.get(_ID_TYPES[name], 0) + count
    return arrival(known, found)


def is_id(path: str, types: Collection[str]) -> bool:
    """Return whether a field is an id, by its name, or as it holds ObjectIds or UUIDs."""
    return bool(_ID.search(path)) or "objectid" in types or "uuid" in types
