"""What `rules` cost: processor seconds of landing 100 thousand orders without and with them."""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import bson
from bson.decimal128 import Decimal128

from tasks.landing import Landing
from tasks.landing.lander import Lander
from tasks.sources import Table

_ORDERS, _PAIRS = 100_000, 21
_BEGIN = datetime(2024, 1, 1, tzinfo=UTC)
_TYPICAL: list[dict[str, Any]] = [
    {"field": "total", "required": True},
    {"field": "total", "type": "decimal"},
    {"field": "total", "range": {"min": 0}},
    {"field": "status", "set": ["new", "paid", "shipped"]},
    {"field": "email", "regex": "[^@ ]+@[^@ ]+"},
    {"field": "items.qty", "range": {"min": 1, "max": 1000}},
    {"field": "created_at", "range": {"min": "2015-01-01"}},
]
_SETS = {
    "required, type, set, regex and three ranges": _TYPICAL,
    "a decimal in a range": [_TYPICAL[2]],
    "one in a hundred rejected": [{"field": "hundredth", "range": {"min": 1}}],
}


def _orders() -> bytes:
    chance = random.Random(1)
    return b"".join(
        bson.encode(
            {
                "_id": number,
                "status": chance.choice(["new", "paid", "shipped"]),
                "total": Decimal128(f"{chance.randrange(10**6) / 100:.2f}"),
                "email": f"user{number}@example.com",
                "created_at": _BEGIN + timedelta(seconds=number),
                "hundredth": number % 100,
                "note": "x" * 30,
                "items": [{"sku": f"s{chance.randrange(500)}", "qty": chance.randrange(1, 9)}],
            }
        )
        for number in range(_ORDERS)
    )


def _land(raw: bytes, rules: list[dict[str, Any]]) -> float:
    """Return the processor seconds of decoding and landing in a folder."""
    table = Table.model_validate({"arrays": {"items": "table"}, "rules": rules})
    with tempfile.TemporaryDirectory() as home:
        started = time.process_time()
        with Landing.open(home).writer("shop", "orders", "20260101T000000000000Z-00000001") as writer:
            lander = Lander(writer, table, 512 << 20)
            lander.push(raw)
            lander.finish()
        return time.process_time() - started


def main() -> None:
    """Print for each set of rules the medians of pairs that are measured in turn, as the machine is never quiet."""
    raw = _orders()
    _land(raw, _TYPICAL)
    for name, rules in _SETS.items():
        pairs = [(_land(raw, []), _land(raw, rules)) for _ in range(_PAIRS)]
        without, within = (statistics.median(pair[side] for pair in pairs) for side in (0, 1))
        more = statistics.median(second - first for first, second in pairs)
        print(f"{name}: {without:.3f} s without, {within:.3f} s with, {more:+.3f} s in a pair")


if __name__ == "__main__":
    main()
