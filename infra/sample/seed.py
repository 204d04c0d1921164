"""Writes the sample shop into MongoDB and its ad spend into a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial
from itertools import islice
from typing import Any

from pymongo import MongoClient
from pymongo.collection import Collection

from infra.sample.shop import COLLECTIONS, Document, Shop, end_of

_DOCUMENTS_PER_INSERT = 2_000


@dataclass(frozen=True, slots=True)
class Size:
    """How large the sample is.

    Attributes:
        customers: People who may buy, one in eight as a guest; about 2 orders and 25 events each over two years.
        days: Days of history.
        seed: Any integer.
        end_date: Last day, a datetime to end within a day, None to end at the last full hour.
        incidents: Whether something goes wrong in the last weeks (infra/sample/incidents.py).
    """

    customers: int = 3_600
    days: int = 730
    seed: int = 7
    end_date: date | datetime | None = None
    incidents: bool = False

    def shop(self) -> Shop:
        """Return the shop of this size."""
        return Shop(self.seed, self.customers, self.days, end_of(self.end_date), self.incidents)


def seed_mongodb(
    uri: str,
    database: str = "shop",
    size: Size | None = None,
    progress: Callable[[str, int], None] = lambda collection, documents: None,
) -> dict[str, int]:
    """Replace the sample collections of a database.

    Args:
        uri: MongoDB connection string.
        database: Database to write; other collections in it stay.
        size: Size of the sample; the default is the demo's.
        progress: Called with collection and documents written so far.

    Returns:
        Documents written per collection.
    """
    shop = (size or Size()).shop()
    return insert_documents(uri, database, {name: shop.documents(name) for name in COLLECTIONS}, progress)


def insert_documents(
    uri: str,
    database: str,
    documents: Mapping[str, Iterable[Document]],
    progress: Callable[[str, int], None] = lambda collection, documents: None,
) -> dict[str, int]:
    """Replace collections by the given documents, streaming; return the number written per collection."""
    client: MongoClient[Document]
    with MongoClient(uri, appname="warehouse-sample") as client:
        counts = {}
        for name, stream in documents.items():
            collection: Collection[Document] = client[database][name]
            collection.drop()
            counts[name] = _insert(collection, stream, partial(progress, name))
            if name != "products":
                collection.create_index("updated_at")
        return counts


def _insert(collection: Collection[Any], stream: Iterable[Document], progress: Callable[[int], None]) -> int:
    done = 0
    rest = iter(stream)
    while batch := list(islice(rest, _DOCUMENTS_PER_INSERT)):
        collection.insert_many(batch, ordered=False)
        done += len(batch)
        progress(done)
    return done
