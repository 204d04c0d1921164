"""What an incremental read has to fetch: from the last cursor value, minus lag, to the newest at the start of the run.

The upper end is fixed before reading. A document that changes while the run reads gets a newer cursor and belongs to
the next run, so none can slip between two runs. https://github.com/airbytehq/airbyte/issues/26060 and
https://github.com/slingdata-io/sling-cli/issues/802 show what happens without such rules.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import polars as pl
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128

from tasks.errors import CursorError, SourceError
from tasks.mongodb.ranges import all_of, bracket, is_nan
from tasks.mongodb.values import describe, freeze, thaw

if TYPE_CHECKING:
    from tasks.mongodb.extract import Reader

_DATE = 9
_USABLE = {2: "number", 3: "string", 7: "ObjectId", _DATE: "date", 10: "timestamp"}
_OTHERS = {0: "MinKey", 1: "null", 4: "document", 5: "array", 6: "binary", 8: "bool", 11: "regex", 15: "MaxKey"}
_NAMES = _USABLE | _OTHERS
# The boundary is kept in the checkpoint; beyond this the loader's hash comparison drops what was read twice.
_BOUNDARY_ROWS = 2_000
_EXACT: CodecOptions[dict[str, Any]] = CodecOptions(
    document_class=dict, datetime_conversion=DatetimeConversion.DATETIME_MS, tz_aware=True
)


@dataclass(frozen=True)
class Window:
    """One incremental read.

    Attributes:
        lower: First cursor value, included; None from the beginning.
        upper: Last cursor value, included; None when no document has the cursor.
        next_lower: Where the next run will start.
        cursor: The field.
        filter: The query.
        state: The checkpoint's state after it.
    """

    cursor: str
    lower: Any
    upper: Any
    next_lower: Any
    filter: dict[str, Any]
    state: dict[str, Any]

    def described(self) -> dict[str, Any]:
        """Return the window for manifest and report."""
        return {"from": describe(self.lower), "to": describe(self.upper)}


def plan_window(reader: Reader) -> Window | None:
    """Return what to read, or None when nothing can be new.

    Raises:
        CursorError: The cursor is missing, NaN, of mixed types, or of another type than the checkpoint's.
    """
    cursor = str(reader.table.cursor)
    _look_at_indexes(reader, cursor)
    has_missing = _check_missing(reader, cursor)
    first, last = _extreme(reader, cursor, 1), _extreme(reader, cursor, -1)
    if last is None:
        return Window(cursor, None, None, None, {cursor: None}, reader.context.state) if has_missing else None
    _check_types(reader, cursor, first, last)
    upper, state = last[cursor], reader.context.state
    previous = thaw(state["cursor"]) if "cursor" in state else None
    if previous is not None and _before(upper, previous):
        upper = previous
    lower = _minus(reader, previous, reader.table.lag) if previous is not None else None
    bounds = {"$lte": upper} | ({"$gte": lower} if lower is not None else {})
    within: dict[str, Any] = {cursor: bounds}
    filter_ = {"$or": [within, {cursor: None}]} if has_missing else within
    after = {"cursor": freeze(upper), "field": cursor}
    return Window(cursor, lower, upper, _minus(reader, upper, reader.table.lag), filter_, after)


@dataclass
class Boundary:
    """Drops rows that the previous run landed already, and remembers those that the next one will see again.

    Attributes:
        cursor: The cursor field.
        next_lower: Cursor value that the next run will start from.
        known: Hex of the `_hash` of rows that landed before.
    """

    cursor: str
    next_lower: Any
    known: list[str] = field(default_factory=list)
    _seen: list[str] = field(default_factory=list)

    def keep(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the rows of a decoded frame that have not landed before."""
        hashes = frame["_hash"].bin.encode("hex")
        if len(self._seen) <= _BOUNDARY_ROWS:
            self._seen += hashes.filter(self._read_again(frame)).to_list()
        return frame.filter(~hashes.is_in(self.known)) if self.known else frame

    def state(self) -> dict[str, Any]:
        """Return the checkpoint's part of the boundary."""
        return boundary_state(self._seen)

    def _read_again(self, frame: pl.DataFrame) -> pl.Series:
        """Return which rows have a cursor value that the next run starts from, or a later one."""
        limit, path = self.next_lower, self.cursor
        if isinstance(limit, DatetimeMS):
            column, value = f"{path}|date", pl.lit(int(limit)).cast(pl.Datetime("ms", "UTC"))
        elif isinstance(limit, str):
            column, value = f"{path}|string", pl.lit(limit)
        elif isinstance(limit, int) and not isinstance(limit, bool):
            column, value = f"{path}|int", pl.lit(int(limit))
        else:
            return pl.repeat(False, frame.height, eager=True)
        if column not in frame.columns:
            return pl.repeat(False, frame.height, eager=True)
        return frame.select((pl.col(column) >= value).fill_null(False)).to_series()


def boundary_state(seen: list[str]) -> dict[str, Any]:
    """Return the checkpoint's part for these rows; beyond the limit none, and the loader drops what comes twice."""
    return {"boundary": sorted(seen)} if len(seen) <= _BOUNDARY_ROWS else {}


def _look_at_indexes(reader: Reader, cursor: str) -> None:
    if reader.collection_type != "collection":
        return
    indexes = list(reader.collection.list_indexes())
    if reader.table.hint and reader.table.hint not in [index["name"] for index in indexes]:
        # The server would say so as well, but only at the second run: the first one reads without the hint.
        raise SourceError(
            f"hint: there is no index {reader.table.hint!r}",
            reader.ref.name,
            f"create it, or correct `hint`; there is: {', '.join(index['name'] for index in indexes)}",
        )
    if not any(next(iter(index["key"]), None) == cursor for index in indexes):
        reader.warnings.append(
            f"{reader.ref.name}: the cursor {cursor!r} has no index, so each run scans the whole collection"
        )


def _one(
    reader: Reader, condition: dict[str, Any], projection: dict[str, int], **options: Any
) -> dict[str, Any] | None:
    """Return one of the table's documents that match; what is read later sees no less than this did."""
    query = all_of(reader.table.filter, condition)
    exact = reader.collection.with_options(codec_options=_EXACT)
    with reader.session() as session:
        return exact.find_one(query, projection, session=session, max_time_ms=reader.source.max_time_ms, **options)


def _extreme(reader: Reader, cursor: str, direction: int) -> dict[str, Any] | None:
    """Return `_id` and cursor of the document with the least or greatest cursor, null and missing left out.

    The server sorts by type first. So when least and greatest are of one type, all between are, and no scan is
    needed to know it.
    """
    sort = [(cursor, direction)]
    # By the index alone, for which some servers read the whole collection as soon as null is left out.
    document = _one(reader, {}, {cursor: 1}, sort=sort)
    if document is not None and _value(document, cursor) is None:
        document = _one(reader, {cursor: {"$ne": None}}, {cursor: 1}, sort=sort)
    return {"_id": document["_id"], cursor: _value(document, cursor)} if document is not None else None


def _value(document: dict[str, Any], cursor: str) -> Any:
    value: Any = document
    for key in cursor.split("."):
        value = value.get(key) if isinstance(value, dict) else value
    return value


def _check_missing(reader: Reader, cursor: str) -> bool:
    """Return whether documents without cursor are to be read.

    Raises:
        CursorError: There are some, and the policy is `error`.
    """
    if reader.table.missing_cursor == "exclude":
        return False
    lacking = _one(reader, {cursor: None}, {"_id": 1})
    if lacking is None:
        return False
    if reader.table.missing_cursor == "error":
        raise CursorError(
            f"the cursor {cursor!r} is missing or null in some documents, such as _id {lacking['_id']!r}",
            reader.ref.name,
            "fill the field, or set missing_cursor to include (read them each time) or exclude",
        )
    return True


def _check_types(reader: Reader, cursor: str, first: dict[str, Any] | None, last: dict[str, Any]) -> None:
    least = first or last
    low, high = bracket(least[cursor]), bracket(last[cursor])
    action = "make the field one type in all documents, or choose another cursor, or use mode cdc or full"
    if low != high:
        raise CursorError(
            f"the cursor {cursor!r} is a {_NAMES.get(low, 'value')} in _id {least['_id']!r} "
            f"and a {_NAMES.get(high, 'value')} in _id {last['_id']!r}",
            reader.ref.name,
            action,
        )
    if is_nan(least[cursor]):
        raise CursorError(
            f"the cursor {cursor!r} is NaN in some documents, such as _id {least['_id']!r}: no range holds them",
            reader.ref.name,
            "give them a number, or leave them out with a filter",
        )
    if high not in _USABLE:
        raise CursorError(f"the cursor {cursor!r} is a {_NAMES.get(high, 'value')}", reader.ref.name, action)
    if "cursor" in reader.context.state:
        stored = bracket(thaw(reader.context.state["cursor"]))
        if stored != high:
            raise CursorError(
                f"the cursor {cursor!r} was a {_NAMES.get(stored, 'value')} and is now a {_NAMES[high]}",
                reader.ref.name,
                f"if that is right: warehouse reset {reader.ref.name}",
            )


def _before(left: Any, right: Any) -> bool:
    """Return whether a cursor value sorts before another one of its bracket, as the server sorts them."""
    return bool(_exact_number(left) < _exact_number(right))


def _exact_number(value: Any) -> Any:
    if isinstance(value, Decimal128):
        return value.to_decimal()
    return Decimal(value) if isinstance(value, int | float) else value


def _minus(reader: Reader, value: Any, lag: timedelta) -> Any:
    if not lag:
        return value
    if isinstance(value, DatetimeMS):
        return DatetimeMS(int(value) - int(lag.total_seconds() * 1000))
    if isinstance(value, datetime):
        return value.astimezone(UTC) - lag
    raise CursorError(
        f"lag needs a date cursor; {reader.table.cursor!r} is a {_NAMES.get(bracket(value), 'value')}",
        reader.ref.name,
        "remove lag, or choose a date field as cursor",
    )
