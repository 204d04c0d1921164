"""What a batch's statistics say of each field beside what was usual before: one entry of the ledger per change."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel, Field

from tasks.bronze.plan import FieldChange
from tasks.drift.presence import Nulls, Presence, became_null, became_optional, has_values
from tasks.drift.shapes import Classes, flip, id_type_changed, is_id
from tasks.drift.values import Sizes, Values, new_value, unit_changed
from tasks.landing.decoder import DOCUMENT


class Usual(BaseModel):
    """What is usual for one field, as of the batches before: a part for each function that looks at it."""

    presence: Presence = Field(default_factory=Presence)
    nulls: Nulls = Field(default_factory=Nulls)
    shapes: Classes = Field(default_factory=dict)
    ids: Classes = Field(default_factory=dict)
    values: Values = Field(default_factory=Values)
    sizes: Sizes = Field(default_factory=Sizes)


def changes(
    usual: dict[str, Usual], fields: Mapping[str, Mapping[str, Any]], rows: int, name: Callable[[str], str]
) -> Iterator[FieldChange]:
    """Yield what changed in the fields of one relation.

    Args:
        usual: By path what was usual; becomes what is usual after the batch.
        fields: By path the batch's statistics, as `FieldStatistics` of the manifest.
        rows: Rows that were counted.
        name: Returns how the ledger names a path.
    """
    # Where a release brings a field, documents from before lack it; so it is not held to be one that all have.
    fresh = Usual(presence=Presence(optional=bool(usual)))
    for path in sorted({*usual, *fields} - {DOCUMENT}):
        seen = fields.get(path, {})
        known, could = usual.setdefault(path, fresh.model_copy(deep=True)), _within(path, fields, rows)
        for kind, old, new, evidence in _found(known, path, seen, could):
            yield FieldChange(name(path), kind, _ACTIONS.get(kind, "values kept as they are"), old, new, evidence)


_ACTIONS = {
    "became_flat": "each shape kept in its own columns",
    "became_nested": "each shape kept in its own columns",
    "became_array": "each shape kept in its own columns",
    "became_single": "each shape kept in its own columns",
    "became_optional": "NULL where it is missing",
    "became_null": "column kept",
}
_Found = tuple[str, str | None, str | None, dict[str, Any]]


def _found(usual: Usual, path: str, seen: Mapping[str, Any], rows: int) -> Iterator[_Found]:
    types: Mapping[str, int] = seen.get("types", {})
    present, nulls = seen.get("present", 0), types.get("null", 0)
    if missing := became_optional(usual.presence, rows, present):
        yield "became_optional", None, None, missing
    if again := has_values(usual.nulls, present, nulls):
        yield "no_longer_null", None, None, again
    if empty := became_null(usual.nulls, present, nulls):
        yield "became_null", None, None, empty
    if flipped := flip(usual.shapes, types):
        yield flipped[0], *flipped[1], {"types": dict(types)}
    if changed := id_type_changed(usual.ids, path, types):
        yield "id_type_changed", *changed, {"types": dict(types)}
    if told := new_value(usual.values, seen.get("values", {}), many=seen.get("many", False)):
        yield told.kind, None, None, told.evidence
    if not is_id(path, types) and (moved := unit_changed(usual.sizes, seen.get("magnitudes", {}))):
        yield "unit_changed", None, None, moved


def _within(path: str, fields: Mapping[str, Mapping[str, Any]], rows: int) -> int:
    """Return how many rows could have a field: of a nested one those that have the document around it."""
    parent = _parent(path)
    if not parent or (path in fields and parent not in fields):
        return rows
    return int(fields.get(parent, {}).get("types", {}).get("document", 0))


def _parent(path: str) -> str:
    """Return the path of the document around a field; dots of keys are escaped by backslashes, and they themselves."""
    at = path.rfind(".")
    while at > 0 and (at - len(path[:at].rstrip("\\"))) % 2:
        at = path.rfind(".", 0, at)
    return path[: max(at, 0)]
