"""How many changes of fields the ledger tells, and how often it tells of one that was none.

Each field is a stream of values by a seeded rule: quiet ones never change, the others do once. After a first load the
field is read in batches of a few or many documents, those before a release and those after it apart.
"""

from __future__ import annotations

import argparse
import json
import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

from tasks.drift.notice import Usual, changes
from tasks.landing.seen import PER_DECADE, is_many

FIRST_LOAD, BATCHES, AFTER = 1_000, 40, 20
BATCH_SIZES = (3, 30, 300)
_MISSING = object()
Value = Callable[[random.Random, int], Any]
"""Makes the value of the n-th document."""


def _always(value: Any) -> Value:
    return lambda chosen, number: value


def _of(*values: Any, weights: Sequence[float] | None = None) -> Value:
    return lambda chosen, number: chosen.choices(values, weights)[0]


def _price(median: float, spread: float) -> Value:
    return lambda chosen, number: round(chosen.lognormvariate(math.log(median), spread), 2)


def _mostly(value: Value, share: float, other: Value) -> Value:
    return lambda chosen, number: (value if chosen.random() < share else other)(chosen, number)


def _sparse(value: Value, share: float) -> Value:
    return _mostly(value, share, _always(_MISSING))


_STATE = _of("open", "paid", "shipped", "returned", weights=(50, 35, 12, 3))
_KEY = {"city": "x"}

QUIET: dict[str, Value] = {
    "in all documents": _price(30, 1),
    "in 99 of 100": _sparse(_price(30, 1), 0.99),
    "in 999 of 1,000": _sparse(_price(30, 1), 0.999),
    "in 1 of 20": _sparse(_price(30, 1), 0.05),
    "null in half": _mostly(_price(30, 1), 0.5, _always(None)),
    "value in 1 of 50, else null": _mostly(_price(30, 1), 0.02, _always(None)),
    "four states": _STATE,
    "states, one of them in 1 of 300": _of("open", "paid", "disputed", weights=(180, 119, 1)),
    "states, one of them in 1 of 1,000": _of("open", "paid", "disputed", weights=(600, 399, 1)),
    "months": lambda chosen, number: f"2026-{1 + number // 2_000:02d}",
    "campaigns, a new one now and then": lambda chosen, number: f"camp {chr(97 + number // 3_000)}",
    "sparse states": _sparse(_STATE, 0.05),
    "constant": _always("EUR"),
    "almost constant": _mostly(_always("EUR"), 0.998, _always("USD")),
    "counted": lambda chosen, number: 1 + min(int(chosen.expovariate(1)), 9),
    "amounts of any size": _price(100, 2.5),
    "amounts that grow": lambda chosen, number: _price(30 * 1.0001**number, 1)(chosen, number),
    "zero in most": _mostly(_always(0), 0.95, _price(20, 1)),
    "in 50 documents, then in 50 others not": lambda chosen, number: 1 if number // 50 % 2 else _MISSING,
    "50 small amounts, then 50 large": lambda chosen, number: _price(3_000 if number // 50 % 2 else 30, 1)(
        chosen, number
    ),
    "document or text": _mostly(_always(_KEY), 0.7, _always("x")),
}
# By kind what is before and after; sparse fields beside those that all documents have.
CHANGED: dict[str, list[tuple[str, Value, Value]]] = {
    "became_optional": [
        ("missing in 3 of 10", _price(30, 1), _sparse(_price(30, 1), 0.7)),
        ("missing in 3 of 100", _price(30, 1), _sparse(_price(30, 1), 0.97)),
    ],
    "became_null": [
        ("all had a value", _price(30, 1), _always(None)),
        ("1 of 10 had one", _mostly(_price(30, 1), 0.1, _always(None)), _always(None)),
        ("in 1 of 20", _sparse(_price(30, 1), 0.05), _sparse(_always(None), 0.05)),
    ],
    "new_value": [
        ("in 1 of 5", _STATE, _mostly(_STATE, 0.8, _always("lost"))),
        ("in 1 of 50", _STATE, _mostly(_STATE, 0.98, _always("lost"))),
        ("in 1 of 5, sparse", _sparse(_STATE, 0.1), _sparse(_mostly(_STATE, 0.8, _always("lost")), 0.1)),
    ],
    "constant_changed": [
        ("in all", _always("EUR"), _always("USD")),
        ("in 1 of 10", _always(1), _mostly(_always(1), 0.9, _always(2))),
        ("in all, sparse", _sparse(_always("EUR"), 0.05), _sparse(_always("USD"), 0.05)),
    ],
    "unit_changed": [
        ("by 100", _price(30, 1), _price(3_000, 1)),
        ("by 1/1,000, sparse", _sparse(_price(3_000, 1), 0.05), _sparse(_price(3, 1), 0.05)),
        ("by 10", _price(30, 1), _price(300, 1)),
        ("by 100, of any size", _price(30, 2.5), _price(3_000, 2.5)),
    ],
    "id_type_changed": [
        ("in all", _price(30, 1), lambda chosen, number: f"k{number}"),
        ("in 1 of 20", _price(30, 1), _mostly(_price(30, 1), 0.95, _always("k"))),
    ],
    "became_flat": [
        ("in all", _always(_KEY), _always("x")),
        ("in 1 of 20", _always(_KEY), _mostly(_always(_KEY), 0.95, _always("x"))),
    ],
    "became_nested": [("in all, sparse", _sparse(_always("x"), 0.05), _sparse(_always(_KEY), 0.05))],
    "became_array": [("in all", _always("x"), _always(["x"]))],
    "became_single": [("in all", _always([1]), _always(_KEY))],
}  # fmt: skip
_TYPES = {dict: "document", list: "array", str: "string", int: "int64", float: "double", type(None): "null"}


def counted(values: Sequence[Any]) -> dict[str, Any]:
    """Return the statistics that landing makes of values."""
    present = [value for value in values if value is not _MISSING]
    texts = Counter(json.dumps(value) for value in present if isinstance(value, str | float | int))
    numbers = [abs(value) for value in present if isinstance(value, float | int) and value]
    return {
        "present": len(present),
        "types": Counter(_TYPES[type(value)] for value in present),
        "values": {} if is_many(texts) else texts,
        "many": is_many(texts),
        "magnitudes": Counter(math.floor(math.log10(number) * PER_DECADE) for number in numbers),
    }


def told(value: Value, after: Value, size: int, seed: str, path: str = "v") -> tuple[list[str], list[tuple[str, int]]]:
    """Return the kinds told before a change, and those after it with how many documents came since."""
    chosen, usual, number = random.Random(seed), dict[str, Usual](), 0
    before: list[str] = []
    since: list[tuple[str, int]] = []
    for batch in range(BATCHES + AFTER + 1):
        rows = size if batch else FIRST_LOAD
        make = value if batch <= BATCHES else after
        values = [make(chosen, number + one) for one in range(rows)]
        number += rows
        statistics = counted(values)
        fields = {path: statistics} if statistics["present"] else {}
        for change in changes(usual, fields, rows, str):
            if batch <= BATCHES:
                before.append(change.change)
            else:
                since.append((change.change, (batch - BATCHES) * size))
    return before, since


@dataclass(frozen=True)
class Found:
    """How a change was told.

    Attributes:
        share: Of all of its kind.
        documents: Median of the documents after the change until it was told; None where none was.
        others: Entries of another kind about it, per change.
    """

    share: float
    documents: int | None
    others: float


def false_alarms(size: int, seeds: range) -> dict[str, dict[str, float]]:
    """Return by quiet field the entries of each kind per field and 100 batches."""
    result = {}
    for name, value in QUIET.items():
        kinds: Counter[str] = Counter()
        for seed in seeds:
            before, since = told(value, value, size, f"{name} {size} {seed}")
            kinds.update([*before, *(kind for kind, _ in since)])
        result[name] = {kind: 100 * count / len(seeds) / (BATCHES + AFTER) for kind, count in kinds.items()}
    return result


def found(kind: str, before: Value, after: Value, size: int, seeds: range) -> Found:
    """Return how a change of a kind is told."""
    delays: list[int] = []
    others = 0
    path = "v_id" if kind == "id_type_changed" else "v"
    for seed in seeds:
        _, since = told(before, after, size, f"{kind} {size} {seed}", path)
        own = [documents for one, documents in since if one == kind]
        delays += own[:1]
        others += len(since) - len(own[:1])
    return Found(len(delays) / len(seeds), sorted(delays)[len(delays) // 2] if delays else None, others / len(seeds))


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables of docs/runbooks/drift.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=50)
    seeds = range(parser.parse_args(arguments).seeds)
    sizes = " | ".join(f"{size}" for size in BATCH_SIZES)
    print(f"| kind | change | told, documents until, with batches of {sizes} |\n|---|---|{'---|' * len(BATCH_SIZES)}")
    for kind, cases in CHANGED.items():
        for name, before, after in cases:
            row = [found(kind, before, after, size, seeds) for size in BATCH_SIZES]
            cells = [f"{100 * one.share:.0f} %" + (f", {one.documents:,}" if one.documents else "") for one in row]
            print(f"| `{kind}` | {name} | {' | '.join(cells)} |")
    print(f"\n| quiet field | entries per 100 batches of {sizes} |\n|---|{'---|' * len(BATCH_SIZES)}")
    every = {size: false_alarms(size, seeds) for size in BATCH_SIZES}
    for name in QUIET:
        cells = [", ".join(f"`{k}` {v:.2f}" for k, v in every[size][name].items()) or "0" for size in BATCH_SIZES]
        print(f"| {name} | {' | '.join(cells)} |")
    total = [f"{mean(sum(kinds.values()) for kinds in every[size].values()):.2f}" for size in BATCH_SIZES]
    print(f"| mean of these fields | {' | '.join(total)} |")


if __name__ == "__main__":
    main()
