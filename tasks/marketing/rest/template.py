"""`{window.first}` in texts of sources.yaml: names from a list, a format at most, and nothing that is evaluated."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Set
from datetime import UTC, date, datetime, time
from typing import Any
from urllib.parse import quote

# Doubled braces stand for themselves.
_FIELD = re.compile(r"\{\{|\}\}|\{([A-Za-z_][\w.]*)(?::([^{}]*))?\}")


def names(value: Any) -> Iterator[str]:
    """Yield every name that the texts of a value refer to."""
    if isinstance(value, str):
        yield from (match[1] for match in _FIELD.finditer(value) if match[1])
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from names(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from names(inner)


def check(value: Any, known: Set[str], open_names: tuple[str, ...] = ("parent.",)) -> None:
    """Raise ValueError when a text refers to a name that nothing gives."""
    for name in names(value):
        if name not in known and not name.startswith(open_names):
            raise ValueError(f"{{{name}}} is not known here; known are: {', '.join(sorted(known))}")


def render(value: Any, given: Mapping[str, Any], *, in_path: bool = False) -> Any:
    """Return a value with its texts filled in; a text that is one name alone keeps the type of what it names.

    Args:
        value: A text, or lists and mappings of them.
        given: By name what is filled in.
        in_path: Whether what is filled in becomes part of a path, where it must not add segments.

    Raises:
        KeyError: A name is not given.
    """
    if isinstance(value, Mapping):
        return {key: render(inner, given) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [render(inner, given) for inner in value]
    if not isinstance(value, str):
        return value
    alone = _FIELD.fullmatch(value)
    if alone and alone[1] and not in_path:
        found = given[alone[1]]
        return _text(found, alone[2]) if alone[2] or isinstance(found, date) else found

    def fill(match: re.Match[str]) -> str:
        if not match[1]:
            return match[0][0]
        text = _text(given[match[1]], match[2])
        return quote(text, safe="") if in_path else text

    return _FIELD.sub(fill, value)


def _text(value: Any, form: str | None) -> str:
    if isinstance(value, date) and form in ("unix", "unix_ms"):
        moment = value if isinstance(value, datetime) else datetime.combine(value, time(), UTC)
        return str(int(moment.timestamp() * (1000 if form == "unix_ms" else 1)))
    if isinstance(value, date):
        return value.strftime(form) if form else value.isoformat()
    return str(value)
