"""How many incidents the anomaly rules find and how often they cry wolf, against a plain z-score and Elementary's rule.

Every series is seeded: weekly pattern, growth, noise, small counts, and a Black Friday where the tested days hold one.
Incidents are put on one day each. The rules' figures were chosen on `SHAPES` with seeds from 0 on; what counts is what
they reach on `HELD_OUT`, of kinds and seeds that nothing was chosen on. The other rules are written anew from their
published formulas, for comparison only.
"""

from __future__ import annotations

import argparse
import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from monitoring.anomalies import Limits, Series, look

START = date(2026, 6, 1)
HISTORY, TESTED = 100, 90  # tested days: 9 September to 7 December, with the week of Black Friday
Rule = Callable[[dict[date, float], date], bool]


@dataclass(frozen=True)
class Shape:
    """One kind of quiet series."""

    name: str
    level: float
    weekend: float
    growth_per_week: float
    noise: float
    black_friday: float
    month_start: float = 1.0
    promotion: float = 1.0
    step: float = 1.0


SHAPES = (
    Shape("steady", 50_000, 1.0, 0.0, 0.05, 1.0),
    Shape("weekly", 20_000, 0.45, 0.0, 0.08, 1.0),
    Shape("growing", 8_000, 0.7, 0.03, 0.08, 1.0),
    Shape("shop", 5_000, 1.25, 0.01, 0.12, 2.8),
    Shape("noisy", 3_000, 0.8, 0.0, 0.25, 1.6),
    Shape("small", 40, 0.5, 0.0, 0.1, 1.5),
)
"""What the rules were chosen on."""
HELD_OUT = (
    Shape("working days", 12_000, 0.06, 0.0, 0.1, 1.0),
    Shape("shrinking", 30_000, 0.8, -0.025, 0.1, 1.2),
    Shape("month's start", 9_000, 0.9, 0.005, 0.1, 1.0, month_start=1.35),
    Shape("promotions", 6_000, 1.1, 0.01, 0.12, 2.2, promotion=1.7),
    Shape("step", 15_000, 0.7, 0.0, 0.09, 1.0, step=1.6),
    Shape("tiny", 12, 0.8, 0.01, 0.15, 1.8),
)
"""What nothing was chosen on: other patterns, and seeds from `HELD_OUT_SEED` on."""
HELD_OUT_SEED = 10_000


def quiet(shape: Shape, seed: int) -> dict[date, float]:
    """Return a series without incidents."""
    random_ = random.Random(f"{shape.name} {seed}")
    # Two days of promotion every other week or so; a step on one day in the middle of what is tested.
    events = random.Random(f"{shape.name} {seed} events")
    starts = range(events.randrange(7), HISTORY + TESTED, events.randint(12, 18))
    promoted = {start + number for start in starts for number in (0, 1)}
    stepped = HISTORY + events.randint(20, 60)
    values = {}
    for number in range(HISTORY + TESTED):
        day = START + timedelta(days=number)
        expected = shape.level * (1 + shape.growth_per_week) ** (number / 7)
        expected *= shape.weekend if day.weekday() >= 5 else 1.0
        expected *= shape.month_start if day.day <= 2 else 1.0
        expected *= shape.promotion if number in promoted else 1.0
        expected *= shape.step if number >= stepped else 1.0
        if date(2026, 11, 26) <= day <= date(2026, 11, 30):
            expected *= shape.black_friday if day != date(2026, 11, 27) else 1.4 * shape.black_friday
        value = expected * random_.lognormvariate(0, shape.noise)
        # Counts scatter by their root, which is what makes small tables hard.
        values[day] = float(max(0, round(random_.gauss(value, value**0.5))))
    return values


INCIDENTS: dict[str, Callable[[float], float | None]] = {
    "missing day": lambda value: None,
    "zero": lambda value: 0.0,
    "90 % lost": lambda value: round(0.1 * value),
    "half lost": lambda value: round(0.5 * value),
    "30 % lost": lambda value: round(0.7 * value),
    "half as much again": lambda value: round(1.5 * value),
    "doubled": lambda value: 2 * value,
    "ten times": lambda value: 10 * value,
}


def with_incident(values: dict[date, float], day: date, incident: Callable[[float], float | None]) -> dict[date, float]:
    """Return a series up to a day on which something went wrong."""
    known = {one: value for one, value in values.items() if one < day}
    changed = incident(values[day])
    return known if changed is None else {**known, day: changed}


# -- rules ------------------------------------------------------------------------------------------------------------


def ours(values: dict[date, float], day: date) -> bool:
    """The product's rules with their defaults for rows."""
    return look(Series(values, day), Limits()) is not None


def z_score(values: dict[date, float], day: date) -> bool:
    """Mean and standard deviation of the last 30 days without the tested one, more than three deviations off."""
    history = [values[one] for back in range(1, 31) if (one := day - timedelta(days=back)) in values]
    return _is_off(values.get(day), history, history)


def elementary(values: dict[date, float], day: date) -> bool:
    """Elementary's volume anomaly by its defaults: 14 daily buckets with the tested one among them, three deviations.

    A bucket without rows counts as zero. A deviation of zero scores zero.
    """
    window = [values.get(day - timedelta(days=back), 0.0) for back in range(14)]
    return _is_off(values.get(day, 0.0), window, window)


def elementary_weekday(values: dict[date, float], day: date) -> bool:
    """The same with `seasonality: day_of_week`: the same weekday of 14 weeks, the tested one among them."""
    window = [values.get(day - timedelta(weeks=back), 0.0) for back in range(14)]
    return _is_off(values.get(day, 0.0), window, window)


def _is_off(value: float | None, history: Sequence[float], window: Sequence[float]) -> bool:
    if value is None or len(history) < 2:
        return False
    deviation = statistics.stdev(window)
    return deviation > 0 and abs(value - statistics.mean(window)) > 3 * deviation


RULES: dict[str, Rule] = {
    "ours": ours,
    "z-score": z_score,
    "Elementary": elementary,
    "Elementary, weekday": elementary_weekday,
}


@dataclass(frozen=True)
class Result:
    """What one rule reached.

    Attributes:
        found: Share of incidents found, by kind.
        false_alarms: Alarms on quiet days per series and 30 days, by shape.
    """

    found: dict[str, float]
    false_alarms: dict[str, float]

    @property
    def all_found(self) -> float:
        """Share of all incidents found."""
        return statistics.mean(self.found.values())

    @property
    def all_false(self) -> float:
        """Alarms per quiet series and 30 days."""
        return statistics.mean(self.false_alarms.values())


def run(rule: Rule, shapes: Sequence[Shape], seeds: range, incident_days: int) -> Result:
    """Return what a rule reaches over some shapes.

    Args:
        rule: The rule.
        shapes: The kinds of series.
        seeds: One series per shape and seed.
        incident_days: Days per series on which each incident is tried, one at a time.
    """
    tested = [START + timedelta(days=HISTORY + number) for number in range(TESTED)]
    false_alarms = dict.fromkeys((shape.name for shape in shapes), 0.0)
    found = dict.fromkeys(INCIDENTS, 0.0)
    tries = len(shapes) * len(seeds) * incident_days
    for shape in shapes:
        for seed in seeds:
            values = quiet(shape, seed)
            alarms = sum(rule({one: value for one, value in values.items() if one <= day}, day) for day in tested)
            false_alarms[shape.name] += alarms * 30 / TESTED / len(seeds)
            chosen = random.Random(seed).sample([day for day in tested if day < date(2026, 11, 20)], incident_days)
            for name, incident in INCIDENTS.items():
                found[name] += sum(rule(with_incident(values, day, incident), day) for day in chosen) / tries
    return Result(found, false_alarms)


def main() -> None:
    """Print the tables of docs/anomalies.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=20, help="series per shape")
    parser.add_argument("--days", type=int, default=5, help="days per series on which each incident is tried")
    options = parser.parse_args()
    for title, shapes, first in (("held out", HELD_OUT, HELD_OUT_SEED), ("chosen on", SHAPES, 0)):
        print(f"## {title}\n")
        seeds = range(first, first + options.series)
        results = {name: run(rule, shapes, seeds, options.days) for name, rule in RULES.items()}
        print(_table("incident", list(INCIDENTS), {name: one.found for name, one in results.items()}, "{:.0%}"))
        print(_table("all", ["all"], {name: {"all": one.all_found} for name, one in results.items()}, "{:.1%}"))
        names = [shape.name for shape in shapes]
        print(_table("series", names, {name: one.false_alarms for name, one in results.items()}, "{:.2f}"))
        print(_table("all", ["all"], {name: {"all": one.all_false} for name, one in results.items()}, "{:.2f}"))


def _table(title: str, lines: Sequence[str], columns: dict[str, dict[str, float]], form: str) -> str:
    head = f"| {title} | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}"
    body = [f"| {line} | {' | '.join(form.format(column[line]) for column in columns.values())} |" for line in lines]
    return "\n".join([head, *body, ""])


if __name__ == "__main__":
    main()
