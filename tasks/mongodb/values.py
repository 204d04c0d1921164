"""BSON values in checkpoints, plans and messages."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

from bson import Timestamp, json_util
from bson.codec_options import DatetimeConversion
from bson.errors import BSONError

from tasks.errors import ConfigError
from tasks.mongodb.config import MongoRef, collection_name

# Dates stay milliseconds, so that one beyond year 9999 is a value like any other.
_CANONICAL = json_util.JSONOptions(
    json_mode=json_util.JSONMode.CANONICAL, datetime_conversion=DatetimeConversion.DATETIME_MS, tz_aware=True
)

# What the state of a mode holds always; a full table is read from the beginning whatever its state.
_POSITION = {"incremental": "cursor", "cdc": "cluster_time"}
# Extended JSON that stands for a value. `$regex` is left out: it is an operator too, which the server takes as it is.
_LITERALS = frozenset(
    "$" + name
    for name in (
        *("oid", "date", "numberInt", "numberLong", "numberDouble", "numberDecimal", "binary", "uuid", "timestamp"),
        *("minKey", "maxKey", "regularExpression", "code", "symbol", "undefined"),
    )
)


def as_query(node: Any) -> Any:
    """Return a query written in extended JSON, such as `{"$date": ...}`, with its BSON values.

    Raises:
        ValueError: A value is none, such as a date that cannot be read.
    """
    if isinstance(node, list):
        return [as_query(item) for item in node]
    if isinstance(node, date) and not isinstance(node, datetime):
        raise ValueError(f'{node} is a day without a time: write {{$date: "{node}T00:00:00Z"}}')
    if not isinstance(node, dict):
        return node
    if len(node) == 1 and _LITERALS & node.keys():
        try:
            return json_util.object_hook(node, _CANONICAL)
        except (TypeError, ValueError, LookupError, ArithmeticError, BSONError):
            key = next(iter(node))
            example = '; a date is written {$date: "2026-01-31T00:00:00Z"}' if key == "$date" else ""
            raise ValueError(f"what stands under {key} is no value of extended JSON{example}") from None
    return {key: as_query(value) for key, value in node.items()}


def freeze(value: Any) -> str:
    """Return a BSON value (or a query of them) as canonical extended JSON text."""
    return json_util.dumps({"v": value}, json_options=_CANONICAL)


def thaw(text: str) -> Any:
    """Return the value that `freeze` was given."""
    return json_util.loads(text, json_options=_CANONICAL)["v"]


def describe(value: Any) -> str | None:
    """Return a value as people would read it in a report."""
    if value is None:
        return None
    as_datetime = getattr(value, "as_datetime", None)
    try:
        return str(as_datetime() if callable(as_datetime) else value)
    except (OverflowError, ValueError):
        return str(value)


def state_for(ref: MongoRef, state: Mapping[str, Any]) -> dict[str, Any]:
    """Return a checkpoint's state where it is one of the table as it is configured, else none: all is read again.

    A position in the changes of one collection tells nothing of another; a value of the cursor does where documents
    moved to another name.

    Args:
        ref: The table.
        state: The checkpoint's state, which a person may have set; without a field or collection it is of any.

    Raises:
        ConfigError: It has the mode's form and cannot be read.
    """
    mode, cursor, collection = ref.table.mode, ref.table.cursor, collection_name(ref)
    if mode not in _POSITION:
        return dict(state)
    if _POSITION[mode] not in state or state.get("field", cursor) != cursor:
        return {}
    if state.get("collection", collection) != collection:
        return {}
    try:
        if mode == "incremental":
            thaw(state["cursor"])
        else:
            Timestamp(*state["cluster_time"])
            thaw(state.get("resume_token", freeze(None)))
    except (BSONError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"the checkpoint's state cannot be read: {error}",
            ref.name,
            f"`warehouse checkpoint set {ref.name}` with --since or --start",
        ) from None
    return dict(state)


def state_since(table: str, cursor: str | None, since: str) -> dict[str, Any]:
    """Return the checkpoint's state from which an incremental table is read since a time.

    Args:
        table: `source.table`, for messages.
        cursor: The table's cursor field.
        since: ISO 8601; without a zone it is UTC.

    Raises:
        ConfigError: The table has no cursor, or `since` is no time.
    """
    if cursor is None:
        raise ConfigError("only incremental tables can be read since a time", table, "read all again instead")
    try:
        moment = datetime.fromisoformat(since)
    except ValueError:
        raise ConfigError(f"{since!r} is no time", table, "write 2026-01-31 or 2026-01-31T12:00:00+02:00") from None
    return {"cursor": freeze(moment if moment.tzinfo else moment.replace(tzinfo=UTC)), "field": cursor}
