"""Rules that find an odd day in a daily series; each is one small function without side effects.

A series is compared with itself: with the same weekday of earlier weeks where there are enough of them, by median and
median absolute deviation (MAD), which one or two odd days cannot move. The tested day and days that people confirmed as
incidents are not part of what it is compared with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from math import expm1, log1p
from statistics import median

# 0.6745 makes the MAD of a normal distribution its standard deviation.
_MAD_TO_DEVIATION = 0.6745


@dataclass(frozen=True, slots=True)
class Limits:
    """When a difference counts.

    Attributes:
        score: Robust deviations from what was expected.
        relative: Share of what was expected; smaller differences never count.
        absolute: Units of the measure; smaller differences never count.
        least_days: With fewer complete days before the tested one the series is still learned.
        direction: `both`, `up` (durations, rejects) or `down`.
        never_zero: Whether a zero is odd where there has never been one.
        grows_in_sales: Whether more is no anomaly in the week of Black Friday.
    """

    score: float = 3.5
    relative: float = 0.3
    absolute: float = 1.0
    least_days: int = 14
    direction: str = "both"
    never_zero: bool = True
    grows_in_sales: bool = True

    def excuses(self, day: date) -> bool:
        """Return whether more than usual is expected of a day."""
        return self.grows_in_sales and is_sale(day)


@dataclass(frozen=True, slots=True)
class Series:
    """One daily series up to the tested day.

    Attributes:
        values: Value by day; days without a value are missing.
        day: The tested day.
        confirmed: Days that people confirmed as incidents.
    """

    values: Mapping[date, float]
    day: date
    confirmed: frozenset[date] = frozenset()

    def before(self, days: int) -> dict[date, float]:
        """Return the usual days within some days before the tested one."""
        first = self.day - timedelta(days=days)
        return {
            day: value for day, value in self.values.items() if first <= day < self.day and day not in self.confirmed
        }


@dataclass(frozen=True, slots=True)
class Band:
    """What is expected of a day: the middle, the borders within which nothing is odd, the deviation in logarithms."""

    expected: float
    low: float
    high: float
    deviation: float


@dataclass(frozen=True, slots=True)
class Finding:
    """What a rule says of a day.

    Attributes:
        rule: The rule's name.
        value: Value of the day; None when it is missing.
        band: What was expected; None where the rule needs none.
        score: Robust deviations from the expected value.
        message: One sentence.
    """

    rule: str
    value: float | None
    band: Band | None
    score: float | None
    message: str


# How far back a day is compared: eight weeks have eight of each weekday.
_WEEKS = 8
# Fewer of one weekday than this say less than all days together.
_LEAST_WEEKDAYS = 4
# Growth is followed by the level of the last weeks against the weeks before.
_LEVEL_DAYS = 14
# A series that lacks more days than this is sparse by nature: sales in a small currency.
_MOST_GAPS = 2
# A constant series has no spread; no figure is steadier than one percent.
_LEAST_DEVIATION = 0.01
# Where days differ by less, trade doubles nothing, not even a sale.
_STEADY = 0.05


def band(series: Series, limits: Limits) -> Band | None:
    """Return what is expected of the tested day, None while the series is learned.

    Each earlier value counts relative to the level around it, so that growth and a step that stayed are no anomaly for
    weeks; what is left is the weekday's share of the level.
    """
    before = series.before(7 * _WEEKS + _LEVEL_DAYS)
    if len(before) < limits.least_days:
        return None
    # In logarithms, as figures of trade differ by factors: half and twice are as far from what is usual.
    scaled = {day: log1p(max(value, 0)) for day, value in _at_level_of(before, series.day).items()}
    by_weekday: dict[int, list[float]] = {}
    for day, value in scaled.items():
        by_weekday.setdefault(day.weekday(), []).append(value)
    same = by_weekday.get(series.day.weekday(), [])
    chosen = same if len(same) >= _LEAST_WEEKDAYS else list(scaled.values())
    middle = median(chosen)
    # A handful of equal values says little of the spread: that of all days against their weekdays says more.
    middles = {weekday: median(values) for weekday, values in by_weekday.items() if len(values) >= _LEAST_WEEKDAYS}
    rest = [value - middles[day.weekday()] for day, value in scaled.items() if day.weekday() in middles]
    deviation = max(_deviation([value - middle for value in chosen]), _deviation(rest), _LEAST_DEVIATION)
    width, expected = limits.score * deviation, expm1(middle)
    return Band(
        expected,
        min(expm1(middle - width), expected * (1 - limits.relative), expected - limits.absolute),
        max(expm1(middle + width), expected * (1 + limits.relative), expected + limits.absolute),
        deviation,
    )


def _at_level_of(values: Mapping[date, float], day: date) -> dict[date, float]:
    """Return the values of the last weeks, each as it would be at the level of the tested day."""
    # By number, as hundreds of days are looked up for each series.
    numbered = {one.toordinal(): value for one, value in values.items()}
    now = _level(numbered, day.toordinal())
    recent = {one: value for one, value in values.items() if day - one <= timedelta(weeks=_WEEKS)}
    return {one: value * _growth(_level(numbered, one.toordinal()), now) for one, value in recent.items()}


def _level(values: Mapping[int, float], until: int) -> float | None:
    """Return the usual height of the days just before a day, None without any."""
    near = [values[number] for number in range(until - _LEVEL_DAYS, until) if number in values]
    return median(near) if near else None


def _growth(then: float | None, now: float | None) -> float:
    """Return by how much the level has changed; 1 where that is not known."""
    return now / then if now and then else 1.0


def _deviation(differences: Sequence[float]) -> float:
    """Return the robust standard deviation of differences from a middle."""
    return median(map(abs, differences)) / _MAD_TO_DEVIATION if differences else 0.0


def is_sale(day: date) -> bool:
    """Return whether more is expected of a day than of others: the week of Black Friday to the Tuesday after it."""
    thanksgiving = date(day.year, 11, 22) + timedelta(days=(3 - date(day.year, 11, 22).weekday()) % 7)
    return thanksgiving - timedelta(days=3) <= day <= thanksgiving + timedelta(days=5)


# -- rules ------------------------------------------------------------------------------------------------------------


def missing_day(series: Series, limits: Limits, expected: Band | None) -> Finding | None:
    """A day without a value, where the weekday always had one."""
    if series.day in series.values:
        return None
    before = series.before(7 * _LEAST_WEEKDAYS)
    same = [day for day in before if day.weekday() == series.day.weekday()]
    if len(before) < limits.least_days or len(same) < min(_LEAST_WEEKDAYS, len(before) // 7):
        return None
    if _gaps(series) > _MOST_GAPS:
        return None
    return Finding("missing day", None, expected, None, "no value, where there was one on every such day")


def _gaps(series: Series) -> int:
    """Return how many days of the last weeks lack a value, of the weekdays that mostly have one."""
    before = series.before(7 * _WEEKS)
    every = [min(before) + timedelta(days=number) for number in range((series.day - min(before)).days)]
    usual = {
        weekday
        for weekday in range(7)
        if 2 * sum(day.weekday() == weekday for day in before) > sum(day.weekday() == weekday for day in every)
    }
    return sum(day.weekday() in usual and day not in before and day not in series.confirmed for day in every)


def never_zero(series: Series, limits: Limits, expected: Band | None) -> Finding | None:
    """A zero where there has never been one; needs a week of history only."""
    before = series.before(7 * _WEEKS)
    if not limits.never_zero or series.values.get(series.day) != 0 or len(before) < 7 or 0 in before.values():
        return None
    return Finding("never zero", 0.0, expected, None, f"zero for the first time in {len(before)} days")


def doubled(series: Series, limits: Limits, expected: Band | None) -> Finding | None:
    """Nearly exactly twice what was expected: a file or a window that was read twice."""
    value = series.values.get(series.day)
    if value is None or expected is None or limits.direction == "down" or expected.expected <= 0:
        return None
    if limits.excuses(series.day) and expected.deviation > _STEADY:
        return None
    near = max(0.1, expected.deviation)
    if value <= expected.high or not 2 - near <= value / expected.expected <= 2 + near or near > 0.25:
        return None
    score = _score(value, expected)
    return Finding("doubled", value, expected, score, f"{_say(value)} is twice the usual {_say(expected.expected)}")


def unusual(series: Series, limits: Limits, expected: Band | None) -> Finding | None:
    """Outside of the band in the direction that counts."""
    value = series.values.get(series.day)
    if value is None or expected is None or expected.low <= value <= expected.high:
        return None
    up = value > expected.high
    if limits.direction not in ("both", "up" if up else "down") or (up and limits.excuses(series.day)):
        return None
    change = f", {abs(value / expected.expected - 1):.0%} {'more' if up else 'less'}" if expected.expected else ""
    said = f"{_say(value)} where {_say(max(expected.low, 0))} to {_say(expected.high)} was expected{change}"
    return Finding("unusual", value, expected, _score(value, expected), said)


RULES: tuple[Callable[[Series, Limits, Band | None], Finding | None], ...] = (missing_day, never_zero, doubled, unusual)
"""In order: the first that finds something names the day."""


def look(series: Series, limits: Limits) -> Finding | None:
    """Return what the rules find of the tested day, None when it is usual or the series is still learned."""
    expected = band(series, limits)
    return next((found for rule in RULES if (found := rule(series, limits, expected)) is not None), None)


def _score(value: float, expected: Band) -> float:
    return round((log1p(max(value, 0)) - log1p(max(expected.expected, 0))) / expected.deviation, 2)


def _say(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.4g}"
