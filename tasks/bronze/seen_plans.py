"""The plan of a batch that grows: a guess by the parts so far, as names and types of columns follow from all of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from tasks.bronze import kinds
from tasks.bronze.capabilities import Capabilities
from tasks.bronze.plan import Column, RelationPlan, make_plan
from tasks.landing import Part


@dataclass
class _Seen:
    """What the parts of one relation have shown so far: landed columns in order, and what values each has."""

    plan: RelationPlan
    columns: dict[str, None] = field(default_factory=dict)
    values: dict[str, Counter[str]] = field(default_factory=dict)
    beyond_double: set[str] = field(default_factory=set)

    def covers(self, part: Part) -> bool:
        """Return whether a part shows nothing that is new for the plan."""
        return self.columns.keys() >= set(part.columns) and self.beyond_double >= set(part.beyond_double or ())

    def add(self, part: Part, frame: pl.DataFrame) -> None:
        """Count a part's values."""
        self.beyond_double.update(part.beyond_double or ())
        self.columns.update(dict.fromkeys(frame.columns))
        for path, found in kinds.landed_kinds(frame.columns).items():
            counter = self.values.setdefault(path, Counter())
            counter.update({kind: frame.height - frame[f"{path}|{kind}"].null_count() for kind in found})


class SeenPlans:
    """Plans of a growing batch's relations: each by what the parts so far have shown, in the order of their coming.

    Args:
        known: By child path the name map so far.
        declared: Returns the kinds that configuration gives to the paths of a relation.
        capabilities: Of the destination.
    """

    def __init__(
        self,
        known: Mapping[str, Sequence[Column]],
        declared: Callable[[str], Mapping[str, str]],
        capabilities: Capabilities,
    ) -> None:
        self._known = known
        self._declared = declared
        self._capabilities = capabilities
        self._seen: dict[str, _Seen] = {}

    def __call__(self, part: Part, frame: pl.DataFrame) -> RelationPlan:
        """Return the plan of the relation that takes a part, with a column for each of its paths."""
        child = part.child
        seen = self._seen.setdefault(child, _Seen(RelationPlan(child, {})))
        covered = seen.covers(part)
        seen.add(part, frame)
        if not covered:
            seen.plan = make_plan(
                child,
                self._known.get(child, ()),
                list(seen.columns),
                seen.values,
                declared=self._declared(child),
                beyond_double=seen.beyond_double,
                capabilities=self._capabilities,
            )
        return seen.plan
