"""How values are written for people, the same on every page."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal

Format = Literal[
    "text",
    "count",
    "number",
    "money",
    "percent",
    "ratio",
    "bytes",
    "seconds",
    "date",
    "month",
    "time",
    "age",
    "state",
    "code",
    "owner",
    "table",
    "link",
]
NUMERIC: frozenset[str] = frozenset({"count", "number", "money", "percent", "ratio", "bytes", "seconds", "age"})
"""Formats whose cells stand at the right."""
# Nothing is said by a dash that a reader could take for zero.
NOTHING = "\N{EN DASH}"


def show(value: Any, form: Format = "text") -> str:
    """Return a value as text; None is a dash, which is not zero."""
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, timedelta):
        value, form = value.total_seconds(), "age" if form == "text" else form
    if isinstance(value, int | float | Decimal):
        return _number(value, form)
    if form == "month" and isinstance(value, date):
        return f"{value:%Y-%m}"
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d}" if form == "date" else f"{value.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    if isinstance(value, date):
        return value.isoformat()
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _number(value: int | float | Decimal, form: Format) -> str:
    match form:
        case "money" | "ratio":
            return f"{value:,.2f}"
        case "percent":
            return f"{100 * value:,.1f} %"
        case "bytes":
            return size(float(value))
        case "seconds":
            digits = 2 if value < 1 else 1
            return f"{value:,.{digits}f} s" if value < 100 else age(float(value))
        case "age":
            return age(float(value))
        case "number":
            return f"{value:,.1f}"
        case _:
            return f"{value.normalize():,f}" if isinstance(value, Decimal) else f"{value:,}".removesuffix(".0")


def size(count: float) -> str:
    """Return bytes in the largest binary unit that leaves a figure of at least one."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:
            return f"{count:,.0f} {unit}" if unit == "B" else f"{count:,.1f} {unit}"
        count /= 1024
    return f"{count:,.1f} TiB"


def age(seconds: float) -> str:
    """Return a length of time in its two largest units."""
    left = round(abs(seconds))
    sign = "-" if seconds < 0 and left else ""
    days, left = divmod(left, 86_400)
    hours, left = divmod(left, 3_600)
    minutes, left = divmod(left, 60)
    if days:
        return f"{sign}{days} d {hours} h"
    if hours:
        return f"{sign}{hours} h {minutes} min"
    return f"{sign}{minutes} min {left} s" if minutes else f"{sign}{left} s"


def plain(value: Any) -> Any:
    """Return a value as JSON and charts have it: numeric as a float, times as ISO 8601."""
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, datetime | date):
        return value.isoformat()
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
