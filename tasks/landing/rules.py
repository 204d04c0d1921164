"""Value rules given in sources.yaml, tried on each document as it lands: what breaks one is rejected, or counted.

All comparisons are exact: doubles and decimals are compared with what the file says, digit by digit, never rounded.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import polars as pl

from tasks.landing.kinds import document_of, plain
from tasks.landing.transforms import columns_of
from tasks.sources.config import Rule

Frames = dict[str, pl.DataFrame]
"""Landed frames by child path, `""` for the rows."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TEXTS = ("string", "objectid", "uuid")
_MICROS = {"micros": 1, "date": 1_000, "day": 86_400_000_000}
_INT64 = 2**63
# A whole number is a double and a decimal, and a double a decimal, as it is in their columns.
_ALSO: dict[str, tuple[str, ...]] = {
    "double": ("int",),
    "decimal": ("int", "double"),
    "micros": ("date", "day"),
    "date": ("day",),
}


@dataclass(frozen=True)
class Sorted:
    """Documents after the rules were tried.

    Attributes:
        kept: What is to be landed.
        held: What is not, whole.
        rejects: A line for each document held.
    """

    kept: Frames
    held: Frames
    rejects: pl.DataFrame


class Rules:
    """The rules of one table.

    Args:
        rules: In the order of sources.yaml. References are not tried here: only the warehouse holds other tables.
        children: Paths of the table's child tables.

    Attributes:
        warned: By rule how many documents broke it and were landed nevertheless.
        warned_rows: How many documents these are together.
    """

    def __init__(self, rules: Sequence[Rule], children: Iterable[str] = ()) -> None:
        paths = [*children]
        self._rules = [(rule, *child_and_path(rule.field, paths)) for rule in rules if rule.reference is None]
        self.warned: Counter[str] = Counter()
        self.warned_rows = 0

    def sort(self, frames: Frames) -> Sorted:
        """Return what keeps the rules and what does not; of several versions of a document the last one counts."""
        if not self._rules:
            return Sorted(frames, {}, pl.DataFrame())
        rows = frames[""]
        tried = rows["_id"].is_last_distinct()
        if "_op" in rows.columns:
            tried = tried & rows["_op"].ne_missing("d")
        refused, warned = _none(rows["_id"]), _none(rows["_id"])
        broken: list[tuple[Rule, pl.Series]] = []
        for rule, child, path in self._rules:
            mask = tried & self._broken(rule, child, path, frames)
            if rule.on_fail == "warn":
                self.warned[rule.title] += int(mask.sum())
                warned = warned | mask
            elif mask.any():
                broken.append((rule, mask))
                refused = refused | mask
        self.warned += Counter()
        self.warned_rows += int((warned & ~refused).sum())
        return _apart(frames, refused, broken) if broken else Sorted(frames, {}, pl.DataFrame())

    def _broken(self, rule: Rule, child: str, path: str, frames: Frames) -> pl.Series:
        """Return which rows break a rule: a document does when one of its child rows does."""
        rows = frames[""]
        if not path:
            return ~rows["_id"].is_in(frames[child]["_root_id"].implode()) if child in frames else ~_none(rows["_id"])
        if not child:
            return breaks(rule, path, rows)
        if child not in frames:
            return _none(rows["_id"])
        inner = frames[child]
        return rows["_id"].is_in(inner.filter(breaks(rule, path, inner))["_root_id"].implode())


def _apart(frames: Frames, refused: pl.Series, broken: Sequence[tuple[Rule, pl.Series]]) -> Sorted:
    """Part the documents that break a rule, with all of their rows, from the others."""
    rows = frames[""]
    ids = rows.filter(refused)["_id"]
    kept: Frames = {}
    held: Frames = {}
    for child, frame in frames.items():
        mask = frame["_root_id" if child else "_id"].is_in(ids.implode())
        kept[child], held[child] = frame.filter(~mask), frame.filter(mask)
    found = [(row, [rule for rule, mask in broken if mask[row]]) for row in refused.arg_true()]
    inner = {child: frame.partition_by("_root_id", as_dict=True) for child, frame in held.items() if child}
    rejects = pl.DataFrame(
        {
            "_id": ids,
            "reason": [", ".join(f"rule {rule.title!r} is broken" for rule in rules) for _, rules in found],
            "path": [rules[0].field for _, rules in found],
            "document": [document_of(rows[row], inner) for row, _ in found],
            "bytes": pl.Series([None] * len(found), dtype=pl.Binary),
        }
    )
    return Sorted(kept, held, rejects)


def child_and_path(field: str, children: Iterable[str]) -> tuple[str, str]:
    """Return the child table that a field is in, and its path there; `""` for the child table itself."""
    for child in sorted(children, key=len, reverse=True):
        if field == child or field.startswith(f"{child}."):
            return child, field[len(child) + 1 :]
    return "", field


def breaks(rule: Rule, path: str, frame: pl.DataFrame) -> pl.Series:
    """Return which rows of a frame break a rule.

    A null or a missing field breaks `required` alone; a value that cannot be compared breaks the rule.
    """
    own = columns_of(frame, path, nested=False)
    nested = [name for name in columns_of(frame, path) if name not in own]
    if rule.required:
        filled = _filled(frame, own + nested)
        return ~filled & ~_set_aside(frame, path, ~filled)
    if rule.type is not None:
        allowed: set[str] = set(rule.type)
        allowed.update(other for kind in rule.type for other in _ALSO.get(kind, ()))
        wrong = [name for name in own if _kind(name) not in allowed]
        return _filled(frame, wrong + ([] if "json" in allowed else nested))
    bad = _filled(frame, nested)
    for name in own:
        values = frame[name]
        bad = bad | (values.is_not_null() & ~_keeps(rule, _kind(name), values).fill_null(False))
    return bad


def _kind(name: str) -> str:
    return name.rpartition("|")[2]


def _filled(frame: pl.DataFrame, names: Sequence[str]) -> pl.Series:
    found = _none(frame.to_series(0))
    for name in names:
        found = found | frame[name].is_not_null()
    return found


def _set_aside(frame: pl.DataFrame, path: str, wanted: pl.Series) -> pl.Series:
    """Return which of the wanted rows have a value in `_rescued` alone, where the decoder put it."""
    if "_rescued" not in frame.columns:
        return _none(wanted)
    return _asked(frame["_rescued"], wanted, lambda text: json.loads(text).get(path) is not None)


def _keeps(rule: Rule, kind: str, values: pl.Series) -> pl.Series:
    """Return which values of a kind keep a rule of range, set or regex."""
    if rule.regex is not None:
        return values.str.contains(rf"\A(?:{rule.regex})\z") if kind in _TEXTS else _none(values)
    if rule.set is not None:
        return _among(rule.set, kind, values)
    assert rule.range is not None  # noqa: S101  the model allows exactly one condition
    least, most = rule.range.min, rule.range.max
    kept = pl.repeat(True, len(values), eager=True)
    for bound, least_one in ((least, True), (most, False)):
        if bound is not None:
            kept = kept & _beyond(bound, least_one, kind, values)
    return kept


def _none(values: pl.Series) -> pl.Series:
    return pl.repeat(False, len(values), eager=True)


def _asked(values: pl.Series, asked: pl.Series, keeps: Callable[[str], bool]) -> pl.Series:
    """Return which of the values that have to be asked one by one are kept, each distinct one asked once."""
    distinct = values.filter(asked & values.is_not_null()).unique()
    kept = distinct.filter(pl.Series([keeps(value) for value in distinct], dtype=pl.Boolean))
    return asked & values.is_in(kept.implode()).fill_null(False)


def _doubles_near(texts: pl.Series) -> pl.Series:
    """Return the doubles next to decimals, which keep their order: of two that differ, the decimals differ likewise."""
    return texts.cast(pl.Float64, strict=False)


# -- sets -----------------------------------------------------------------------------------------------------------


def _among(allowed: Sequence[str | bool | Decimal], kind: str, values: pl.Series) -> pl.Series:
    numbers = {value for value in allowed if isinstance(value, Decimal)}
    if kind in _TEXTS:
        return values.is_in([value for value in allowed if isinstance(value, str)])
    if kind == "bool":
        return values.is_in([value for value in allowed if isinstance(value, bool)])
    if kind == "int":
        return values.is_in([int(n) for n in numbers if n == n.to_integral_value() and -_INT64 <= n < _INT64])
    if kind == "double":
        return values.is_in([double for n in numbers if Decimal(double := float(n)) == n])
    if kind == "decimal":
        near = _doubles_near(values)
        alike = near.is_null() | near.is_in([float(n) for n in numbers])
        return _asked(values, alike, lambda text: (number := Decimal(text)).is_finite() and number in numbers)
    return _none(values)


# -- ranges ---------------------------------------------------------------------------------------------------------


def _beyond(bound: Decimal | date, least: bool, kind: str, values: pl.Series) -> pl.Series:
    """Return which values are at least, or at most, a bound."""
    if not isinstance(bound, Decimal):
        return _of_time(bound, least, kind, values)
    if kind == "int":
        return _of_whole(math.ceil(bound) if least else math.floor(bound), least, values)
    if kind == "double":
        return _of_double(bound, least, values)
    if kind == "decimal":
        return _of_decimal(bound, least, values)
    return _none(values)


def _of_whole(bound: int, least: bool, values: pl.Series) -> pl.Series:
    if not -_INT64 <= bound < _INT64:
        return pl.repeat((bound < 0) == least, len(values), eager=True)
    return values >= bound if least else values <= bound


def _of_double(bound: Decimal, least: bool, values: pl.Series) -> pl.Series:
    """Compare doubles with a decimal: with the double next to it, which is on one side of it or equal."""
    near = float(bound)
    # The double next to a bound may lie outside of it: then only those beyond that double are within.
    outside = Decimal(near) < bound if least else Decimal(near) > bound
    if least:
        kept = values.gt(near) if outside else values.ge(near)
    else:
        kept = values.lt(near) if outside else values.le(near)
    # Polars takes NaN for the greatest number.
    return kept & values.is_not_nan()


def _of_decimal(bound: Decimal, least: bool, values: pl.Series) -> pl.Series:
    """Compare decimals with another: by the doubles next to them, and themselves where these are one."""
    near, limit = _doubles_near(values), float(bound)
    beyond = (near.gt(limit) if least else near.lt(limit)) & near.is_not_nan()
    asked = _asked(values, near.is_null() | near.eq(limit), lambda text: _is_within(Decimal(text), bound, least))
    return beyond.fill_null(False) | asked


def _is_within(value: Decimal, bound: Decimal, least: bool) -> bool:
    if value.is_nan():
        return False
    return value >= bound if least else value <= bound


def _of_time(bound: date, least: bool, kind: str, values: pl.Series) -> pl.Series:
    if kind not in _MICROS:
        return _none(values)
    micros = _micros(bound, least)
    unit = _MICROS[kind]
    return _of_whole(-(-micros // unit) if least else micros // unit, least, plain(values, kind).cast(pl.Int64))


def _micros(bound: date, least: bool) -> int:
    """Return the microsecond since 1970 that a bound stands for: of a day its first, or as a maximum its last."""
    if isinstance(bound, datetime):
        moment = bound.replace(tzinfo=UTC) if bound.tzinfo is None else bound
        return (moment - _EPOCH) // timedelta(microseconds=1)
    days = (bound - _EPOCH.date()).days
    return days * _MICROS["day"] if least else (days + 1) * _MICROS["day"] - 1
