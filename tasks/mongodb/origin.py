"""What a batch was read from: which collection it was, and whether its cursor had an index."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bson.binary import Binary
from bson.raw_bson import RawBSONDocument
from pymongo.collection import Collection
from pymongo.errors import OperationFailure

from tasks.landing.manifest import Origin


def origin_of(collection: Collection[RawBSONDocument], cursor: str | None) -> Origin:
    """Return the identity of a collection, which one of the same name has not, as far as the user may see it.

    Args:
        collection: As it is read.
        cursor: Field by which it is read; None where it is read otherwise.
    """
    try:
        listed = collection.database.list_collections(filter={"name": collection.name})
        info: Any = next(iter(listed), {}).get("info", {})
        identity = info.get("uuid")
        indexes = collection.index_information() if identity else None
    except OperationFailure:
        return Origin()
    return Origin(
        identity=bytes(identity).hex() if isinstance(identity, Binary) else str(identity) if identity else None,
        cursor=cursor,
        cursor_indexed=None if cursor is None or indexes is None else is_indexed(indexes, cursor),
        indexes=None if indexes is None else _described(indexes),
    )


def _described(indexes: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the keys of all indexes but that of `_id`, sorted, such as `city:1,at:-1`."""
    keys = (",".join(f"{field}:{order}" for field, order in dict(index["key"]).items()) for index in indexes.values())
    return tuple(sorted(key for key in keys if key != "_id:1"))


def is_indexed(indexes: Mapping[str, Any], field: str) -> bool:
    """Return whether an index begins with a field."""
    return any(next(iter(dict(index["key"])), None) == field for index in indexes.values())
