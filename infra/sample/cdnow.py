"""The CDNOW purchases (1997-01-01 to 1998-06-30) as nested customer documents: real transactions to check against.

The file holds one line per purchase (customer, day, units, amount) without a purchase number. Exact duplicates and
purchases of 0.00 are facts like the others: each line becomes one element of its customer's `purchases`, in file order.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from bson import Decimal128

from infra.sample.seed import insert_documents


class Purchase(NamedTuple):
    """One line of the file."""

    customer: int
    day: datetime
    units: int
    amount: Decimal


def master_file() -> Path:
    """Return the path of CDNOW_master.txt in the installed `lifetimes` package.

    Raises:
        FileNotFoundError: If the package is not installed (it belongs to the `test` extra).
    """
    spec = find_spec("lifetimes")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError("CDNOW_master.txt comes with the package lifetimes: install the extra 'test'")
    return Path(spec.submodule_search_locations[0]) / "datasets" / "CDNOW_master.txt"


def purchases(path: Path | None = None) -> Iterator[Purchase]:
    """Yield the purchases of the file in its order."""
    with (path or master_file()).open(encoding="ascii") as file:
        next(file)  # the line of column names
        for line in file:
            customer, day, units, amount = line.split()
            moment = datetime(int(day[:4]), int(day[4:6]), int(day[6:]), tzinfo=UTC)
            yield Purchase(int(customer), moment, int(units), Decimal(amount))


def documents(path: Path | None = None) -> Iterator[dict[str, Any]]:
    """Yield one document per customer, `_id` being the file's customer number (lines of a customer stand together)."""
    for customer, lines in groupby(purchases(path), key=lambda line: line.customer):
        found = list(lines)
        made = [{"date": line.day, "units": line.units, "amount": Decimal128(line.amount)} for line in found]
        yield {"_id": customer, "purchases": made, "first_purchase_at": min(line.day for line in found)}


def seed_mongodb(uri: str, database: str = "cdnow", path: Path | None = None) -> int:
    """Write the customers into the collection `customers` of a database, replacing it; return their number."""
    return insert_documents(uri, database, {"customers": documents(path)})["customers"]
