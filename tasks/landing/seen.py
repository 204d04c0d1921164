"""What the landed values of each field look like, for telling a change: their few values, their orders of magnitude.

Counted from the first and last rows of each part, in bounded memory, and such that the counts of segments can be added.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
import polars as pl

MOST_VALUES = 16
"""A field of more different values than these is no enumeration."""
MOST_LETTERS = 40
"""Longer texts are no values of an enumeration."""
PER_DECADE = 4
"""Steps of a power of ten: the step of 100 is 8, of 0.1 it is -4."""
# Rows that are looked at from either end of a part, which has some 10,000; for numbers fewer tell as much. Slices cost
# next to nothing where evenly spread rows would have to be copied.
_ROWS, _NUMBERS = 1_024, 64
# A text field that is no enumeration shows so in its first rows.
_FIRST_ROWS = 64


@dataclass
class _Field:
    """The counts of one path; see `FieldStatistics` of the manifest."""

    values: Counter[str] = field(default_factory=Counter)
    many: bool = False
    magnitudes: Counter[int] = field(default_factory=Counter)

    def count(self, values: pl.Series) -> None:
        """Count texts or booleans."""
        if self.many:
            return
        if not _vary(set(values.head(_FIRST_ROWS).to_list())):
            found = _ends(values, _ROWS).value_counts(name="count")
            if found.height <= MOST_VALUES + 1:
                counts = dict(found.iter_rows())
                counts.pop(None, None)
                if not _vary(counts):
                    self._add(counts)
                    return
        self._give_up()

    def count_numbers(self, values: pl.Series) -> None:
        """Count numbers; decimals are texts."""
        found: Counter[float] = Counter()
        for value, count in Counter(_ends(values, _NUMBERS).to_list()).items():
            if value is not None and math.isfinite(number := float(value)):
                found[number] += count
        for number, count in found.items():
            if number:
                self.magnitudes[math.floor(math.log10(abs(number)) * PER_DECADE)] += count
        if not self.many:
            self._add(found)

    def _add(self, counts: Mapping[Any, int]) -> None:
        for value, count in counts.items():
            self.values[orjson.dumps(value).decode()] += count
        if is_many(self.values):
            self._give_up()

    def _give_up(self) -> None:
        self.many = True
        self.values.clear()


def is_many(values: Mapping[str, int]) -> bool:
    """Return whether values, as JSON, are too many to be told one by one."""
    return len(values) > MOST_VALUES


class Seen:
    """Counts the values of one segment's frames as they are landed."""

    def __init__(self) -> None:
        self._found: dict[str, dict[str, _Field]] = {}

    def add(self, child: str, frame: pl.DataFrame) -> None:
        """Count a frame that lands, of the table itself or of one array."""
        fields = self._found.setdefault(child, {})
        for column in frame.get_columns():
            path, _, kind = column.name.rpartition("|")
            if kind in ("string", "bool"):
                fields.setdefault(path, _Field()).count(column)
            elif kind in ("int", "double", "decimal"):
                fields.setdefault(path, _Field()).count_numbers(column)

    def add_to(self, statistics: dict[str, Any]) -> dict[str, Any]:
        """Return a segment's statistics by child path, with these counts at the fields that they have."""
        for child, of_child in self._found.items():
            fields = statistics.get(child, {}).get("fields", {})
            for path, counted in of_child.items():
                if path in fields:
                    seen = {"values": counted.values, "many": counted.many, "magnitudes": counted.magnitudes}
                    fields[path] = {**fields[path], **seen}
        return statistics


def _ends(values: pl.Series, rows: int) -> pl.Series:
    return values if len(values) <= 2 * rows else values.head(rows).append(values.tail(rows))


def _vary(values: Collection[Any]) -> bool:
    """Return whether values are none of an enumeration: too many, too long, or with a NUL, which jsonb cannot hold."""
    return len(values) > MOST_VALUES + 1 or any(
        isinstance(value, str) and (len(value) > MOST_LETTERS or "\x00" in value) for value in values
    )
