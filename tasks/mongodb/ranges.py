"""`_id` ranges that cover a collection exactly once, whatever types its ids have.

MongoDB compares `$gte` and `$lt` within one type bracket only, so a range across brackets is a union: the rest of the
first bracket, the whole brackets between, and the start of the last. Order of types:
https://www.mongodb.com/docs/manual/reference/bson-type-comparison-order/
"""

from __future__ import annotations

import base64
import datetime
import math
import uuid
from typing import Any

from bson import BSON
from bson.binary import Binary
from bson.code import Code
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.datetime_ms import DatetimeMS
from bson.dbref import DBRef
from bson.decimal128 import Decimal128
from bson.max_key import MaxKey
from bson.min_key import MinKey
from bson.objectid import ObjectId
from bson.raw_bson import RawBSONDocument
from bson.regex import Regex
from bson.timestamp import Timestamp
from pymongo.collection import Collection
from pymongo.errors import OperationFailure

# Type numbers by bracket, in comparison order.
BRACKETS: tuple[tuple[int, ...], ...] = (
    (-1,),
    (6, 10),
    (1, 16, 18, 19),
    (2, 14),
    (3,),
    (4,),
    (5,),
    (7,),
    (8,),
    (9,),
    (17,),
    (11,),
    (12,),
    (13,),
    (15,),
    (127,),
)
_NUMBERS = 2
# Brackets of one value: MinKey, null and undefined, MaxKey. `$lt: MaxKey` would match every type.
_SINGLE = {0, 1, 15}
_OPEN = object()
_NOTHING: dict[str, Any] = {"_id": {"$in": []}}
# Enough samples per range that the largest range stays within about a third of the mean.
_SAMPLES_PER_RANGE = 40
# Dates as plain milliseconds, so that an id beyond year 9999 does not fail the split.
_EXACT = CodecOptions(document_class=dict, datetime_conversion=DatetimeConversion.DATETIME_MS, tz_aware=True)

Bound = str | None
"""A split point made by `to_bound`; None is the open end."""


def bracket(value: Any) -> int:
    """Return the index in BRACKETS of a Python value of an `_id`."""
    kinds: tuple[tuple[type | tuple[type, ...], int], ...] = (
        (bool, 8),
        (MinKey, 0),
        (MaxKey, 15),
        (type(None), 1),
        ((int, float, Decimal128), _NUMBERS),
        (Code, 14 if isinstance(value, Code) and value.scope is not None else 13),
        (str, 3),
        (DBRef, 4),
        (dict, 4),
        (list, 5),
        ((Binary, bytes, uuid.UUID), 6),
        (ObjectId, 7),
        ((datetime.datetime, DatetimeMS), 9),
        (Timestamp, 10),
        (Regex, 11),
    )
    for kind, index in kinds:
        if isinstance(value, kind):
            return index
    raise TypeError(f"no bracket for {type(value).__name__}")


def all_of(*conditions: dict[str, Any]) -> dict[str, Any]:
    """Return the query for all conditions; one alone stays as it is, for which more servers take an index."""
    stated = [condition for condition in conditions if condition]
    return {"$and": stated} if len(stated) > 1 else (stated or [{}])[0]


def range_filter(low: Bound, high: Bound) -> dict[str, Any]:
    """Return the query for `low <= _id < high`, across type brackets."""
    if low is None and high is None:
        return {}
    start = bound_value(low) if low is not None else _OPEN
    end = bound_value(high) if high is not None else _OPEN
    first = bracket(start) if low is not None else -1
    last = bracket(end) if high is not None else len(BRACKETS)
    if first == last:
        clauses = [_within(first, start, end)]
    else:
        clauses = []
        if low is not None:
            clauses.append(_within(first, start, _OPEN))
        between = [kind for index in range(first + 1, last) for kind in BRACKETS[index]]
        if between:
            clauses.append({"_id": {"$type": between}})
        if high is not None:
            clauses.append(_within(last, _OPEN, end))
    flat = [clause for group in clauses for clause in group.get("$or", [group])]
    flat = [clause for clause in flat if clause != _NOTHING] or [_NOTHING]
    return flat[0] if len(flat) == 1 else {"$or": flat}


def _within(index: int, start: Any, end: Any) -> dict[str, Any]:
    """Return the query for a part of one bracket. NaN sorts below all numbers but matches no comparison."""
    whole = {"_id": {"$type": list(BRACKETS[index])}}
    if index in _SINGLE:
        return whole if end is _OPEN else _NOTHING
    bounds: dict[str, Any] = {}
    if start is not _OPEN and not is_nan(start):
        bounds["$gte"] = start
    if end is not _OPEN:
        bounds["$lt"] = end
    if index != _NUMBERS or not bounds:
        return {"_id": bounds} if bounds else whole
    if is_nan(end):
        return _NOTHING
    from_nan = start is _OPEN or is_nan(start)
    return {"$or": [{"_id": bounds}, {"_id": math.nan}]} if from_nan else {"_id": bounds}


def is_nan(value: Any) -> bool:
    """Return whether a value is a NaN, which sorts below all numbers but matches no comparison."""
    if isinstance(value, Decimal128):
        return value.to_decimal().is_nan()
    return isinstance(value, float) and math.isnan(value)


def to_bound(document: RawBSONDocument) -> str:
    """Return the split point of a raw document: the BSON of its `_id` alone, in base64."""
    value = BSON(document.raw).decode(_EXACT)["_id"]
    return base64.b64encode(BSON.encode({"_id": value}, codec_options=_EXACT)).decode()


def bound_value(bound: str) -> Any:
    """Return the `_id` of a split point, with its exact BSON type."""
    return BSON(base64.b64decode(bound)).decode(_EXACT)["_id"]


def split_points(collection: Collection[RawBSONDocument], ranges: int, filter_: dict[str, Any]) -> list[str]:
    """Return up to `ranges - 1` split points, ascending in the server's own order.

    Sampling reads a few documents, not the collection. Where it cannot be done (views, odd engines) the result is
    empty: one range.
    """
    pipeline: list[dict[str, Any]] = [
        {"$sample": {"size": ranges * _SAMPLES_PER_RANGE}},
        {"$project": {"_id": 1}},
        {"$sort": {"_id": 1}},
    ]
    if filter_:
        pipeline.insert(0, {"$match": filter_})
    try:
        sample = [to_bound(document) for document in collection.aggregate(pipeline)]
    except (OperationFailure, TypeError):
        return []
    step = len(sample) / ranges
    points = [sample[int(step * index)] for index in range(1, ranges)] if step >= 1 else []
    unique: list[str] = []
    for point in points:
        if not unique or point != unique[-1]:
            unique.append(point)
    return unique
