"""Exchange rates of the sample, in the layout of the European Central Bank's history file."""

from __future__ import annotations

import csv
from datetime import timedelta
from pathlib import Path

from infra.sample.catalogue import random_of
from infra.sample.shop import Shop

_START = {"USD": 1.09, "JPY": 160.0, "GBP": 0.855, "CHF": 0.955}
# Orders of the first days need a rate that was published before them.
_DAYS_BEFORE = 7


def write_rates(folder: Path, shop: Shop) -> Path:
    """Write `<folder>/eurofxref-hist.csv`: a row per working day, newest first, units of each currency for one euro."""
    rates = dict(_START)
    rows = []
    for offset in range(-_DAYS_BEFORE, shop.days):
        day = shop.start.date() + timedelta(days=offset)
        if day.weekday() < 5:
            random = random_of(shop.seed, "rate", day.toordinal())
            rates = {code: rate * (1 + random.gauss(0, 0.003)) for code, rate in rates.items()}
            rows.append({"Date": day, **{code: f"{rate:.4f}" for code, rate in rates.items()}})
    path = folder / "eurofxref-hist.csv"
    folder.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=["Date", *_START])
        writer.writeheader()
        writer.writerows(reversed(rows))
    return path
