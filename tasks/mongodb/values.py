"""BSON values in checkpoints, plans and messages."""

from __future__ import annotations

from typing import Any

from bson import json_util
from bson.codec_options import DatetimeConversion

# Dates stay milliseconds, so that one beyond year 9999 is a value like any other.
_CANONICAL = json_util.JSONOptions(
    json_mode=json_util.JSONMode.CANONICAL, datetime_conversion=DatetimeConversion.DATETIME_MS, tz_aware=True
)


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
