"""Landed kinds, the Postgres types that hold them, and which of two types can hold both."""

from __future__ import annotations

from collections.abc import Mapping

from tasks.landing.kinds import KINDS

PG_TYPES: dict[str, str] = {name: kind.columns["postgres"].name for name, kind in KINDS.items()}
_ORDER = {kind: index for index, kind in enumerate(PG_TYPES)}
NUMBERS = ("int", "double", "decimal")
"""Kinds of numbers, each wider than those before."""
_TIMES = ("day", "date", "micros")
# Kinds of values that each established kind takes beside its own. Values that lose something on the way (an int above
# 2^53 in a double, a negative zero in a numeric) are found one by one; the original is in a wider column, or _rescued.
_TAKES: dict[str, frozenset[str]] = {
    "double": frozenset({"int"}),
    "decimal": frozenset({"int", "double"}),
    "date": frozenset({"day", "micros"}),
    "micros": frozenset({"day", "date"}),
    # Text of another meaning: readable in the column, and the original with its kind in _rescued.
    "string": frozenset({"objectid"}),
    "objectid": frozenset({"string"}),
}
_WIDER: dict[tuple[str, str], str] = {
    ("int", "double"): "double",
    ("int", "decimal"): "decimal",
    ("double", "decimal"): "decimal",
    ("day", "date"): "micros",
    ("day", "micros"): "micros",
}
EXACT_OF_DOUBLE = "decimal"
"""The kind that holds exactly all doubles, and all whole numbers beside them."""
# Type names of the statistics, as kinds; all others land as json. Only used to weigh kinds against each other.
_KIND_OF_TYPE: dict[str, str] = {kind.statistics: name for name, kind in KINDS.items()} | {"int32": "int", "int": "int"}
# Nested documents are counted at their path, but their values are at the paths below.
_WITHOUT_COLUMN = ("null", "document")


def takes(established: str, kind: str) -> bool:
    """Return whether a column of the established kind holds values of `kind`."""
    return established == kind or kind in _TAKES.get(established, frozenset())


def wider(established: str, kind: str) -> str | None:
    """Return the kind that holds both without loss, or None when there is none."""
    return _WIDER.get((established, kind))


def wider_than(established: str) -> list[str]:
    """Return the kinds that hold all that the established kind does, and more."""
    return sorted({wide for (narrow, _), wide in _WIDER.items() if narrow == established})


def weigh(kinds: Mapping[str, int]) -> str:
    """Return the kind of a new column from how often each kind was seen; the order of seeing has no say.

    Numbers count together, and so do times: their join is lossless. Between families the most frequent wins.

    Args:
        kinds: Non-empty: how often each kind was seen.
    """
    families: dict[str, int] = {}
    for kind, count in kinds.items():
        joined = _joined(kind, kinds)
        families[joined] = families.get(joined, 0) + count
    return min(families, key=lambda kind: (-families[kind], _ORDER[kind]))


def _joined(kind: str, kinds: Mapping[str, int]) -> str:
    if kind in NUMBERS:
        return next(name for name in reversed(NUMBERS) if name in kinds)
    if kind in _TIMES:
        times = [name for name in _TIMES if name in kinds]
        return times[0] if len(times) == 1 else "micros"
    return kind


def counts(landed: Mapping[str, list[str]], types: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
    """Return by path how often each landed kind was seen, at least once each.

    Args:
        landed: By path the kinds that have a column.
        types: By path the statistics' BSON type names with their counts.
    """
    weighed: dict[str, dict[str, int]] = {}
    for path, kinds in landed.items():
        seen: dict[str, int] = {}
        for name, count in types.get(path, {}).items():
            if name in _WITHOUT_COLUMN:
                continue
            kind = _KIND_OF_TYPE.get(name, "json")
            seen[kind] = seen.get(kind, 0) + count
        weighed[path] = {kind: max(seen.get(kind, 0), 1) for kind in kinds}
    return weighed


def landed_kinds(columns: list[str]) -> dict[str, list[str]]:
    """Return by path the kinds of landed columns (`path|kind`), in the order of the columns; meta columns left out."""
    found: dict[str, list[str]] = {}
    for column in columns:
        path, separator, kind = column.rpartition("|")
        if separator:
            found.setdefault(path, []).append(kind)
    return found
