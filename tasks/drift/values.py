"""Fields with a new value, another constant, or another unit."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel, Field

from tasks.drift.chance import is_new
from tasks.landing.seen import PER_DECADE, is_many

# A new value is told sooner than other changes, as it is a fact, and models may drop it.
_NEW_VALUE = 1e-2
# Fewer values than these say not enough of an enumeration.
_LEAST_KNOWN = 50
# Texts such as 2026-01, 1.2.3 or 12:30 count something: they are no names of states.
_COUNTS = re.compile(r'"[\W\d_]*\d[\W\d_TZ]*"')


class Values(BaseModel):
    """The values of a field that has few.

    Attributes:
        known: How often each was seen, as JSON.
        settled: How many values there were before the first new one.
        rows: How many there were since.
        fresh: The new ones among these.
        many: Whether the field has too many different ones.
    """

    known: dict[str, int] = Field(default_factory=dict)
    settled: int = 0
    rows: int = 0
    fresh: dict[str, int] = Field(default_factory=dict)
    many: bool = False


class Told(NamedTuple):
    """A change of values: its kind, and the evidence."""

    kind: str
    evidence: dict[str, Any]


def new_value(known: Values, values: Mapping[str, int], *, many: bool) -> Told | None:
    """Return `new_value` or `constant_changed` when a field has another value than its few, or its one.

    Args:
        known: Of the batches before; becomes what is known after this one.
        values: How often the batch has each value, as JSON.
        many: Whether there are too many to be told one by one.
    """
    if known.many or many:
        known.many, known.known, known.fresh = True, {}, {}
        return None
    if not known.known:
        known.known, known.settled = dict(values), sum(values.values())
        return None
    before = list(known.known)
    fresh = {value: count for value, count in values.items() if value not in known.known}
    known.fresh = _sum(known.fresh, fresh)
    known.known = _sum(known.known, {value: count for value, count in values.items() if value not in fresh})
    if not known.fresh:
        known.settled += sum(values.values())
        return None
    known.rows += sum(values.values())
    constant = len(before) == 1
    told = _is_told(known, constant=constant)
    if not told and known.rows <= known.settled:
        return None
    evidence = {"values": before, "new": list(known.fresh), "rows_before": known.settled, "rows": known.rows}
    evidence["count"] = sum(known.fresh.values())
    # A constant that changed is one again, once no row has the old value any more.
    kept = {} if constant and told and len(fresh) == len(values) else known.known
    known.known = _sum(kept, known.fresh)
    known.settled, known.rows, known.fresh = known.settled + known.rows, 0, {}
    if is_many(known.known):
        known.many, known.known = True, {}
    return Told("constant_changed" if constant else "new_value", evidence) if told else None


def _is_told(known: Values, *, constant: bool) -> bool:
    count = sum(known.fresh.values())
    if constant:
        return is_new(known.settled, known.rows, count)
    # Where a value was seen once only, more of its like are still unseen.
    is_enumeration = min(known.known.values()) > 1 and known.settled >= _LEAST_KNOWN
    words = all(value[:1] == '"' and not _COUNTS.fullmatch(value) for value in {**known.known, **known.fresh})
    return is_enumeration and words and is_new(known.settled, known.rows, count, _NEW_VALUE)


class Sizes(BaseModel):
    """The orders of magnitude of a number.

    Attributes:
        settled: By step how many numbers there were.
        recent: Those of the last batches, until they are enough to be compared.
    """

    settled: dict[int, int] = Field(default_factory=dict)
    recent: dict[int, int] = Field(default_factory=dict)


# A factor of 6: units differ by 10, 12, 24, 60, 100 or 1,000. Of kilograms and pounds, at 2.2, nothing is told.
_LEAST_FACTOR = 6.0
_LEAST_RECENT, _LEAST_SETTLED = 10, 50
# Older numbers count less and less.
_MOST_SETTLED = 20_000


def unit_changed(known: Sizes, magnitudes: Mapping[int, int]) -> dict[str, Any] | None:
    """Return evidence when the median moved by a factor, out of where nine of ten numbers were.

    Args:
        known: Of the batches before; becomes what is known after this one.
        magnitudes: By step how many numbers the batch has.
    """
    known.recent = _sum(known.recent, magnitudes)
    rows, before = sum(known.recent.values()), sum(known.settled.values())
    if rows < _LEAST_RECENT and before:
        return None
    recent, known.recent = known.recent, {}
    if before >= _LEAST_SETTLED:
        old, new = median(known.settled), median(recent)
        factor = 10 ** (new - old)
        outside = not quantile(known.settled, 0.05) <= new <= quantile(known.settled, 0.95)
        if outside and not 1 / _LEAST_FACTOR < factor < _LEAST_FACTOR:
            known.settled = recent
            figures = {"median_before": 10**old, "median": 10**new, "factor": factor}
            return {name: float(f"{value:.2g}") for name, value in figures.items()} | {
                "rows_before": before,
                "rows": rows,
            }
    known.settled = _sum(known.settled, recent)
    if before > _MOST_SETTLED:
        known.settled = {step: count // 2 for step, count in known.settled.items() if count > 1}
    return None


def median(steps: Mapping[int, int]) -> float:
    """Return the power of ten of the median."""
    return quantile(steps, 0.5)


def quantile(steps: Mapping[int, int], share: float) -> float:
    """Return the power of ten below which a share of the numbers is, even within a step."""
    wanted = share * sum(steps.values())
    for step, count in sorted(steps.items()):
        if wanted <= count:
            return (step + wanted / count) / PER_DECADE
        wanted -= count
    return (max(steps) + 1) / PER_DECADE


def _sum(counts: Mapping[Any, int], others: Mapping[Any, int]) -> dict[Any, int]:
    return {key: counts.get(key, 0) + others.get(key, 0) for key in {**counts, **others}}
