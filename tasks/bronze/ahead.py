"""Copying the first batch of a table while it is still being landed, on a guess that its manifest has to confirm.

Names and types of columns follow from the whole batch, of which only the parts so far are known. So the plan made from
them is compared with the one that the manifest gives, and the files copied with those that it lists. When anything
differs, nothing of it is committed, and the batch is loaded as any other.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl
import psycopg

from tasks.bronze import kinds, merge
from tasks.bronze.convert import convert
from tasks.bronze.filling import Filling
from tasks.bronze.plan import Plan, make_plan
from tasks.landing import Landing, Manifest, Part
from tasks.ops import TableKey, columns, relations
from tasks.overlap import read_ahead
from tasks.sources import TableRef

_Landed = tuple[Part, pl.DataFrame]
# Looks in vain after which a COPY ends: while it waits for rows nobody learns that its connection is lost.
_VAIN_LOOKS = 10


class Outgrown(Exception):
    """What was copied ahead is not what the whole batch asks for."""


@dataclass
class _Seen:
    """What the parts of one relation have shown so far: landed columns in order, and what values each has."""

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


class Ahead:
    """The part of a batch that was copied before its manifest was there, within one transaction.

    Args:
        cursor: In a transaction that holds the table's lock.
        landing: Where the batch grows.
        ref: The table.
        batch_id: The batch.

    Attributes:
        fillings: By child path the relations that were made and are being filled.
        misfits, sanitised, rescued: As `convert` counts them.
    """

    def __init__(self, cursor: psycopg.Cursor[Any], landing: Landing, ref: TableRef, batch_id: str) -> None:
        self._cursor = cursor
        self._landing = landing
        self._key: TableKey = ref.key
        self._table = ref.table
        self._batch_id = batch_id
        self._seen: dict[str, _Seen] = {}
        self._parts: dict[str, Part] = {}
        self._next: _Landed | None = None
        self.stamp = merge.stamp(cursor, batch_id, landing.plan(*ref.key, batch_id).extracted_at)
        self.fillings: dict[str, Filling] = {}
        self.misfits: dict[str, Counter[tuple[str, str]]] = {}
        self.sanitised: dict[str, Counter[tuple[str, str]]] = {}
        self.rescued = 0

    def copy(self, files: Iterable[str | None]) -> None:
        """Copy a batch's files as they come, as many as can be by one COPY.

        Args:
            files: Names, each once; None where none has come since the last look.

        Raises:
            Outgrown: A column turned out to be of another type than the first parts showed.
        """
        with closing(read_ahead(map(self._read, files))) as landed:
            for self._next in landed:
                while self._next is not None:
                    filling = self._filling(*self._next)
                    filling.copy(self._converted(filling.plan, landed))

    def holds(self, part: Part) -> bool:
        """Return whether a part of the manifest was copied."""
        return part.file in self._parts

    def check(self, plan: Plan) -> None:
        """Compare a relation's plan with the one it was filled by.

        Raises:
            Outgrown: A column differs.
        """
        _check(self.fillings[plan.child].plan, plan)

    def confirm(self, manifest: Manifest) -> None:
        """Compare what was copied with the manifest.

        Raises:
            Outgrown: A file was copied that is not of the batch, such as one of a reader that died.
        """
        listed = {part.file: part for part in manifest.parts}
        for file, part in self._parts.items():
            if listed.get(file) != part:
                raise Outgrown(f"{file} is not of the batch")

    def _read(self, file: str | None) -> _Landed | None:
        return None if file is None else self._landing.read_growing(*self._key, self._batch_id, file)

    def _converted(self, plan: Plan, landed: Iterator[_Landed | None]) -> Iterator[pl.DataFrame]:
        """Yield converted frames as far as the plan goes: up to one of another relation, or with a new column."""
        seen = self._seen[plan.child]
        while self._next is not None:
            part, frame = self._next
            converted = convert(frame, plan)
            self.rescued += 0 if part.child else converted.rescued
            self.misfits.setdefault(part.child, Counter()).update(converted.misfits)
            self.sanitised.setdefault(part.child, Counter()).update(converted.sanitised)
            yield converted.frame
            self._parts[part.file] = part
            self._next = next(filter(None, itertools.islice(landed, _VAIN_LOOKS)), None)
            if self._next is None or self._next[0].child != plan.child or not seen.covers(self._next[0]):
                return
            seen.add(*self._next)

    def _filling(self, part: Part, frame: pl.DataFrame) -> Filling:
        """Return the relation that takes a part, with a column for each of its paths."""
        child = part.child
        seen = self._seen.setdefault(child, _Seen())
        filling, covered = self.fillings.get(child), seen.covers(part)
        seen.add(part, frame)
        if filling is not None and covered:
            return filling
        known = columns.of_relation(self._cursor, self._key, child, self._batch_id)
        declared = self._table.declared_in(child)
        plan = make_plan(
            child, known, list(seen.columns), seen.values, declared=declared, beyond_double=seen.beyond_double
        )
        if filling is None:
            relations.add(self._cursor, self._key, [child])
            name = relations.of_table(self._cursor, self._key)[child]
            filling = self.fillings[child] = Filling(self._cursor, name, plan, self.stamp)
        else:
            _check(filling.plan, plan)
            filling.grow(plan)
        return filling


def _check(filled: Plan, wanted: Plan) -> None:
    for path, column in filled.columns.items():
        found = wanted.columns.get(path)
        if found is None or replace(found, vanished=column.vanished) != column:
            raise Outgrown(f"{filled.field_name(path)} turned out to be otherwise than its first parts")
