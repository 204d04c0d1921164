"""Rows of one pull into the parts of one landed segment."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal
from functools import lru_cache
from types import TracebackType
from typing import Any

import bson
import polars as pl

from tasks.errors import ConfigError, SourceError
from tasks.landing import BatchWriter, Segment
from tasks.landing.lander import Lander
from tasks.marketing.rest.channel import ACCOUNT, Ask, Layout
from tasks.marketing.rest.decode import without_nulls
from tasks.marketing.rest.keys import Keys
from tasks.sources import Table

# Rows that are encoded together, as long as they are no larger than this.
_TOGETHER, _SMALL_BYTES = 32, 1 << 20
# Before the elements of a document's only array of no name: the document's length, kind, NUL, the array's length.
_ARRAY_START = 4 + 1 + 1 + 4


class Rows:
    """Takes the rows of one account and window; leaving the context frees what was kept to compare them.

    Args:
        table: The table's configuration.
        layout: How its rows are read.
        ask: What was asked for: rows of anything else are refused.
        writer: Where they land.
        memory_bytes: Memory budget of this reader.
    """

    def __init__(self, table: Table, layout: Layout, ask: Ask, writer: BatchWriter, memory_bytes: int) -> None:
        changed = {path for step in table.transforms for path in step.paths} & {ACCOUNT, layout.day}
        if changed:
            raise ConfigError(
                f"transforms may not change {', '.join(filter(None, changed))}, by which days are replaced", ask.table
            )
        self._layout, self._ask = layout, ask
        types = {**layout.types, layout.day: "day"} if layout.day else dict(layout.types)
        self._keys = Keys()
        # What is told as it changes may be told twice; the last one counts.
        once = None if layout.state else self._once
        self._lander = Lander(writer, table, memory_bytes, types=types, keep=once)
        self._key_names = [name for name in layout.key if name != ACCOUNT]
        self._allowed = {day.isoformat() for day in ask.window.days()} if ask.window else set()
        self._waiting: list[dict[str, Any]] = []
        self._together = 1
        self.count = 0
        self.by_day: dict[str, int] = dict.fromkeys(self._allowed, 0)
        self.cursor = ask.cursor

    def __enter__(self) -> Rows:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._keys.close()

    def take(self, records: Iterable[Mapping[str, Any]]) -> int:
        """Take all records.

        Raises:
            SourceError: One is of another account or day, has no key, or one that came before.
        """
        account, nulls = self._ask.account.id, self._layout.nulls
        for given in records:
            record = {"_id": None, **(without_nulls(given, nulls) if nulls else given)}
            if str(record.setdefault(ACCOUNT, account)) != account:
                raise self._wrong(f"a row of account {record[ACCOUNT]} came")
            record[ACCOUNT] = account
            key = [record.get(name) for name in self._key_names]
            if None in key:
                raise self._wrong(f"a row has no {self._key_names[key.index(None)]}, which is part of its key")
            self._count_day(record)
            record["_id"] = [account, *key]
            self._add(record)
        return self.count

    def finish(self, source_bytes: int) -> Segment:
        """Write what is left, and return the segment.

        Raises:
            SourceError: A row could not be decoded.
        """
        self._encode()
        self._lander.flush()
        if unreadable := self._lander.reject_rows - self._lander.held_rows:
            raise self._wrong(f"{unreadable} row(s) cannot be decoded")
        if repeated := self._keys.repeated():
            raise self._twice(f"{repeated:,} of the keys of {self.count:,} rows")
        self._lander.source_bytes = source_bytes
        return self._lander.finish()

    def _count_day(self, record: dict[str, Any]) -> None:
        """Check the day of a row, and note what its account has come to."""
        layout = self._layout
        if layout.day is not None:
            day = iso_day(str(record.get(layout.day)))
            if day not in self._allowed:
                raise self._wrong(f"a row of {record.get(layout.day)!r} came, which is outside of the days asked for")
            record[layout.day] = day
            self.by_day[day] += 1
        if layout.cursor is not None and (value := record.get(layout.cursor)) is not None:
            text = str(value)
            if self.cursor is None or after(text, self.cursor):
                self.cursor = text

    def _add(self, document: dict[str, Any]) -> None:
        self.count += 1
        self._waiting.append(document)
        if len(self._waiting) >= self._together:
            self._encode()

    def _encode(self) -> None:
        """Hand on the documents that wait, which are encoded as one array: by itself each would take twice the time."""
        try:
            encoded = bson.encode({"": self._waiting})
        except (bson.errors.BSONError, OverflowError, UnicodeError, ValueError) as error:
            raise self._wrong(f"a row cannot be kept: {error}") from None
        self._together = _TOGETHER if len(encoded) < _SMALL_BYTES else 1
        end = _ARRAY_START
        for number in range(len(self._waiting)):
            # The kind of an element, its number as text and a NUL stand before it.
            start = end + 2 + len(str(number))
            end = start + int.from_bytes(encoded[start : start + 4], "little")
            self._lander.add(encoded[start:end])
        self._waiting = []

    def _once(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return a frame that lands, once none of its keys came before."""
        if (found := self._keys.add(frame["_id"])) is not None:
            raise self._twice(f"the key {json.loads(found)[1:]}")
        return frame

    def _twice(self, what: str) -> SourceError:
        return self._wrong(f"{what} came twice: rows moved while they were read, or `key` is short")

    def _wrong(self, what: str) -> SourceError:
        window = self._ask.window
        days = f", {window.first} to {window.last}" if window else ""
        return SourceError(
            what, f"{self._ask.table}, account {self._ask.account}{days}", "see the table's `key` and `day`"
        )


@lru_cache(maxsize=4_096)
def iso_day(text: str) -> str:
    """Return the day that a text begins with (`2026-11-23...` or `20261123`) in ISO form, "" when there is none."""
    digits = text[:10]
    try:
        return date.fromisoformat(digits if digits[4:5] == "-" else digits[:8]).isoformat()
    except ValueError:
        return ""


def after(text: str, other: str) -> bool:
    """Return whether a cursor's value comes after another: numbers by their value, everything else as text."""
    try:
        return Decimal(text) > Decimal(other)
    except ArithmeticError:
        return text > other
