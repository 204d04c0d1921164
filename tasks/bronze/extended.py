"""`_rescued`: extended JSON in a form that jsonb accepts and that loses nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from tasks.bronze import names
from tasks.landing.kinds import in_base64, quote

# `\u0000` as an escape: an even number of backslashes before it. jsonb cannot hold it.
_NUL_ESCAPE = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")


def has_nul(text: str) -> bool:
    """Return whether a JSON text holds an escaped NUL, which jsonb refuses."""
    return "\\u0000" in text and _NUL_ESCAPE.search(text) is not None


def without_nul(text: str) -> str:
    """Return a JSON text with escaped NULs left out."""
    previous = None
    while previous != text:
        previous, text = text, _NUL_ESCAPE.sub(r"\1", text)
    return text


def safe_json(text: str) -> str:
    """Return a JSON text as it is, or wrapped in base64 where jsonb would refuse or shorten it."""
    return wrapped(text) if has_nul(text) or repeats_key(text) else text


def repeats_key(text: str) -> bool:
    """Return whether an object in a JSON text has a key twice: jsonb keeps only the last."""
    if "{" not in text:
        return False
    found = False

    def look(pairs: list[tuple[str, Any]]) -> None:
        nonlocal found
        found = found or len({key for key, _ in pairs}) < len(pairs)

    json.loads(text, object_pairs_hook=look)
    return found


def wrapped(text: str) -> str:
    """Return a JSON text wrapped in base64: kept to the letter."""
    return in_base64("$json", text)


def merge(own: Mapping[str, str], decoder: str | None) -> str:
    """Return the `_rescued` object as text.

    By path it holds the original of a value whose column holds none, or a changed form of it; by `path|duplicates` the
    later values of a key that a document has more than once.

    Args:
        own: The loader's fragments by path.
        decoder: What was set aside before.
    """
    parts = {path: safe_json(text) for path, text in own.items()}
    if decoder:
        parts |= json.loads(decoder, object_pairs_hook=_Pairs).items()
    return "{" + ",".join(f"{quote(names.stored(path))}:{text}" for path, text in parts.items()) + "}"


class _Pairs(list[tuple[str, Any]]):
    """A JSON object as pairs: nested duplicate keys stay."""

    def items(self) -> list[tuple[str, str]]:
        return [(key, safe_json(_dump(value))) for key, value in self]


def _dump(value: Any) -> str:
    if isinstance(value, _Pairs):
        return "{" + ",".join(f"{quote(key)}:{_dump(item)}" for key, item in value) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_dump(item) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False)
