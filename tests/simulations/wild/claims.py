"""What the ledger's entries claim of fields' values, held against all documents that runs could see.

By kind: what an entry must have behind it, and when there must be one. Types, names and shapes are facts, which one
document shows. Of what is a matter of how often (`became_optional`, `became_null`, `new_value`, `constant_changed`,
`unit_changed`) only what is told is held against the documents: when it is told is what `make simulate-drift` measures.
"""

from __future__ import annotations

import json
import math
import re
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from bson import Binary, ObjectId
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128

from tests.simulations.wild.application import Document, Release

Entry = dict[str, Any]
Values = dict[str, list[Any]]
_FLIPS = ("became_flat", "became_nested", "became_array", "became_single")
_TURNS = {"became_null": "no_longer_null", "no_longer_null": "became_null"}
# Nothing of the kind happens to the application: no collection goes, and no cursor has an index.
_NEVER = ("dropped", "source_renamed", "index_lost")
_ID_NAME = re.compile(r"(^|[^a-zA-Z])(id|uuid|guid)$|[a-z](Id|ID|Uuid|UUID|Guid)$")
# So many rows with a field make it one that all have, where it was not in the first load.
_COMPLETE = 1_000
_LEAST_FACTOR = 6
# Column types that hold a value as it is; where numbers are concerned values decide.
_HOLDS: tuple[tuple[Any, str], ...] = (
    (bool, "boolean"), ((datetime, DatetimeMS), "timestamp with time zone"), ((str, ObjectId), "text"),
)  # fmt: skip


def values_of(documents: Iterable[Document], arrays: tuple[str, ...]) -> Values:
    """Return by field, as the ledger names it, all its values; None where a document around it lacks it is left out."""
    found: Values = defaultdict(list)
    for document in documents:
        _add(found, "", {key: value for key, value in document.items() if key not in arrays})
        for name in arrays:
            if name not in document:
                continue
            found[name].append(value := document[name])
            for element in value if isinstance(value, list) else [value] * (value is not None):
                _add(found, f"{name}[].", element if isinstance(element, dict) else {"value": element})
    return found


def _add(found: Values, prefix: str, document: Document) -> None:
    for key, value in document.items():
        found[prefix + key].append(value)
        if isinstance(value, dict):
            _add(found, f"{prefix}{key}.", value)


def _shape(value: Any) -> str | None:
    if value is None:
        return None
    return {list: "array", dict: "document"}.get(type(value), "value")


def _id_class(value: Any) -> str | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float | Decimal128):
        return "number"
    if isinstance(value, Binary):
        return "uuid" if value.subtype == 4 else "binary"
    return {str: "string", ObjectId: "objectid", bytes: "binary", uuid.UUID: "uuid"}.get(type(value))


def _classes(values: Iterable[Any], of: Callable[[Any], str | None]) -> set[str]:
    return {name for value in values if (name := of(value))}


class Claims:
    """The documents of one table day by day, and what its entries say of them.

    Args:
        arrays: Fields that have a child table.
    """

    def __init__(self, arrays: tuple[str, ...]) -> None:
        self._arrays = arrays
        self._ever: Values = defaultdict(list)
        self._first: Values = {}
        self._rows = 0
        self._known = 0

    def faults(
        self,
        entries: Sequence[Entry],
        releases: Sequence[Release],
        seen: Sequence[Mapping[Any, Document]],
        loaded: Iterable[Document],
        columns: Mapping[str, Sequence[str]],
    ) -> Iterator[str]:
        """Yield what is wrong after a day.

        Args:
            entries: All of the table, oldest first.
            releases: All that the application did to the table.
            seen: What the run of the day before read, and each one since.
            loaded: Documents that bronze has as they are.
            columns: By field the types of its columns.
        """
        news = [one for one in entries if one["id"] > self._known]
        today = values_of((document for one in seen[1:] for document in one.values()), self._arrays)
        if not self._first:
            self._first, self._rows = today, len(seen[1])
        for entry in news:
            if why := self._unfounded(entry, today, releases):
                yield f"{entry['field']} {entry['change']}, {why}: {entry}"
        yield from self._twice(entries)
        conflicts = {one["field"] for one in entries if one["change"] == "type_conflict"}
        yield from self._missed(news, values_of(loaded, self._arrays), columns, conflicts)
        days = {one.day for one in releases if one.kind == "refilled"}
        told = sum(one["change"] == "refilled" for one in entries)
        if told != len(days):
            yield f"was refilled on {len(days)} days, told {told} times"
        for name, values in today.items():
            self._ever[name] += values
        self._known = max((one["id"] for one in entries), default=0)

    def _unfounded(self, entry: Entry, today: Values, releases: Sequence[Release]) -> str | None:
        """Return what an entry says that the documents do not show."""
        kind, name = entry["change"], entry["field"]
        if kind in _NEVER:
            return "which never was"
        check = getattr(self, f"_{'flip' if kind in _FLIPS else kind}", None)
        if check is None or kind in ("vanished", "renamed"):
            return None
        return check(entry, today.get(name, []), self._ever.get(name, []), releases)  # type: ignore[no-any-return]

    def _flip(self, entry: Entry, today: list[Any], ever: list[Any], _: object) -> str | None:
        if entry["new_type"] not in _classes(today, _shape):
            return "a shape that no document has"
        return None if entry["old_type"] in _classes([*ever, *today], _shape) else "from a shape that it never had"

    def _id_type_changed(self, entry: Entry, today: list[Any], ever: list[Any], _: object) -> str | None:
        every = _classes([*ever, *today], _id_class)
        if not (_ID_NAME.search(entry["field"]) or every & {"objectid", "uuid"}):
            return "and is no id"
        if entry["new_type"] not in _classes(today, _id_class):
            return "a type that no document has"
        return None if entry["old_type"] in every else "from a type that it never had"

    def _new_value(self, entry: Entry, today: list[Any], ever: list[Any], _: object) -> str | None:
        old, new = (list(map(json.loads, entry["evidence"][name])) for name in ("values", "new"))
        every = {value for value in [*ever, *today] if isinstance(value, str)}
        if set(old) & set(new) or not new:
            return "which is not new"
        if not {*old, *new} <= every:
            return "which no document had"
        return None if len(old) <= 16 else "of a field with many values"

    def _constant_changed(self, entry: Entry, today: list[Any], ever: list[Any], _: object) -> str | None:
        old, new = entry["evidence"]["values"], entry["evidence"]["new"]
        if len(old) != 1 or not new or old[0] in new:
            return "which was none"
        texts = {json.loads(one) for one in [*old, *new] if one.startswith('"')}
        every = {value for value in [*ever, *today] if isinstance(value, str)}
        return None if texts <= every else "which no document had"

    def _became_optional(self, entry: Entry, today: list[Any], ever: list[Any], _: object) -> str | None:
        evidence, name = entry["evidence"], entry["field"]
        if not 0 < evidence["missing"] <= evidence["rows"]:
            return "and is missing in none"
        nested = "." in name or "[]" in name
        first = len(self._first.get(name, [])) == self._rows or (nested and name in self._first)
        return None if first or evidence["rows_before"] >= _COMPLETE else "and never was in all"

    def _became_null(self, entry: Entry, today: list[Any], ever: list[Any], _: object) -> str | None:
        if not any(value is None for value in today):
            return "and is null in none"
        return None if any(value is not None for value in ever) else "and never had a value"

    def _no_longer_null(self, entry: Entry, today: list[Any], ever: list[Any], _: object) -> str | None:
        return None if any(value is not None for value in today) else "and has no value"

    def _unit_changed(self, entry: Entry, today: list[Any], ever: list[Any], releases: Sequence[Release]) -> str | None:
        factor = entry["evidence"]["factor"]
        if abs(math.log(factor, _LEAST_FACTOR)) < 0.99:
            return "by less than a unit"
        name = entry["field"].replace("[]", "")
        touched = {path for one in releases for path in (one.path, one.to) if path}
        alike = (name == path or name.startswith(f"{path}.") or path.startswith(f"{name}.") for path in touched)
        return None if any(alike) else "and nobody touched it"

    def _type_conflict(self, entry: Entry, today: list[Any], ever: list[Any], _: object) -> str | None:
        fits = {"bigint": int, "text": str, "boolean": bool, "timestamp with time zone": datetime}.get(
            entry["old_type"]
        )
        odd = (value for value in today if value is not None)
        if fits is not None and all(type(value) is fits for value in odd):
            return "and all fit"
        return None

    def _twice(self, entries: Sequence[Entry]) -> Iterator[str]:
        """Yield what is told twice: an open conflict, a value as new, or one turn of nulls."""
        conflicts = Counter(
            (one["field"], one["old_type"], one["new_type"]) for one in entries if one["change"] == "type_conflict"
        )
        yield from (f"{one} is told {count} times, and open" for one, count in conflicts.items() if count > 1)
        new = Counter(
            (one["field"], value) for one in entries if one["change"] == "new_value" for value in one["evidence"]["new"]
        )
        yield from (f"{one} is told as new {count} times" for one, count in new.items() if count > 1)
        turn: dict[str, str] = {}
        for one in entries:
            if one["change"] in _TURNS:
                if turn.get(one["field"], "no_longer_null") == one["change"]:
                    yield f"{one['field']} {one['change']} twice running"
                turn[one["field"]] = one["change"]

    def _missed(
        self, news: Sequence[Entry], loaded: Values, columns: Mapping[str, Sequence[str]], conflicts: set[str]
    ) -> Iterator[str]:
        """Yield facts that are not told: a shape or a type of `_id` that is new, and values that no column holds."""
        flips = {one["field"] for one in news if one["change"] in _FLIPS}
        for name, values in loaded.items():
            # `{}` is JSON, of no shape.
            before, now = _classes(self._ever.get(name, []), _shape), _classes(filter(_filled, values), _shape)
            if before and now - before and name not in flips:
                yield f"{name} has the new shape {now - before}, untold"
            if name not in conflicts and (odd := [one for one in values if not _held(one, columns.get(name, []))]):
                yield f"{name} has {odd[:3]} beside columns of {columns.get(name)}, untold"
        before, now = (_classes(values, _id_class) for values in (self._ever.get("_id", []), loaded.get("_id", [])))
        told = {one["new_type"] for one in news if (one["field"], one["change"]) == ("_id", "id_type_changed")}
        if before and now - before and not told & (now - before):
            yield f"_id has the new type {now - before}, untold"


def _filled(value: Any) -> bool:
    return value != {}


def _held(value: Any, columns: Sequence[str]) -> bool:
    """Return whether a column holds a value, or it cannot be told here."""
    if not columns or "jsonb" in columns:
        return True
    return next((column in columns for kinds, column in _HOLDS if isinstance(value, kinds)), True)
