"""A cursor's position as people read it, without the driver: commands that only show it need not wait for that."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any


def describe_cursor(frozen: Any) -> str:
    """Return a cursor's value.

    Args:
        frozen: As `tasks.mongodb.values.freeze` writes it, which is what `checkpoint set` takes again.
    """
    try:
        value = json.loads(frozen)["v"]
    except (KeyError, TypeError, ValueError):
        return f"{frozen!r}, which cannot be read"
    date = value.get("$date", {}) if isinstance(value, dict) else {}
    if "$numberLong" in date:
        return _date(int(date["$numberLong"]))
    return str(value if not isinstance(value, dict) else next(iter(value.values())))


def _date(milliseconds: int) -> str:

    try:
        return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)).isoformat()
    except OverflowError:
        return f"{milliseconds} ms after 1970"
