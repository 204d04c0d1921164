"""The documents that the benchmarks read: six shapes, each from a seed, the same on every machine."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import bson
from bson.decimal128 import Decimal128
from bson.objectid import ObjectId
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient

_START = datetime(2025, 1, 1, tzinfo=UTC)
_STATUS = ("placed", "paid", "shipped", "returned")
_CITIES = ("Berlin", "Lyon", "Porto", "Gdansk", "Turin")
_INSERT = 5_000


def object_id(number: int) -> ObjectId:
    """Return the id of a document: they ascend with its number."""
    return ObjectId(f"65{number:022x}")


def uniform(number: int, dice: random.Random) -> dict[str, Any]:
    """Return an order of 17 columns and about 436 bytes: the design's document."""
    placed = _START + timedelta(seconds=number * 13)
    return {
        "_id": object_id(number),
        "number": number,
        "customer_id": object_id(number % 50_000),
        "status": _STATUS[number % 4],
        "currency": "EUR",
        "total": Decimal128(f"{dice.randrange(100, 99_999) / 100:.2f}"),
        "tax": round(dice.random() * 50, 2),
        "discount": dice.randrange(0, 20),
        "paid": number % 3 != 0,
        "placed_at": placed,
        "updated_at": placed + timedelta(hours=dice.randrange(100)),
        "address": {"street": f"Street {number % 997}", "zip": f"{number % 99_999:05d}", "city": _CITIES[number % 5]},
        "utm": {"source": "google", "medium": "cpc", "campaign": f"campaign-{number % 40}"},
        "items": [{"sku": f"SKU-{dice.randrange(5_000):05d}", "quantity": 1 + number % 3, "price": 19.99}],
        "note": "x" * 20,
    }


def shuffled(number: int, dice: random.Random) -> dict[str, Any]:
    """Return the uniform order with its keys in a random order."""
    order = uniform(number, dice)
    keys = [key for key in order if key != "_id"]
    dice.shuffle(keys)
    return {"_id": order["_id"], **{key: order[key] for key in keys}}


def narrow(number: int, dice: random.Random) -> dict[str, Any]:
    """Return a document of two numbers beside its id."""
    return {"_id": object_id(number), "number": number, "amount": dice.random()}


def sparse(number: int, dice: random.Random) -> dict[str, Any]:
    """Return a document with 60 of 300 possible fields, in random order."""
    fields = dice.sample(range(300), 60)
    return {"_id": object_id(number), **{f"field_{field:03d}": _sparse_value(field, number) for field in fields}}


def _sparse_value(field: int, number: int) -> Any:
    return (number, f"value {number % 1000}", number / 7, number % 2 == 0)[field % 4]


def drifting(number: int, dice: random.Random) -> dict[str, Any]:
    """Return the uniform order; 2 percent have a value of another type or a field of another name."""
    order = uniform(number, dice)
    if number % 50 == 0:
        order["discount"] = "none"
        order["address"]["zip"] = int(order["address"]["zip"])
        order["currency_code"] = order.pop("currency")
    return order


def huge(number: int, dice: random.Random) -> dict[str, Any]:
    """Return a document of 10 MB."""
    return {"_id": object_id(number), "number": number, "body": f"{dice.randrange(10**9):010d}" * 1_000_000}


SHAPES: dict[str, Callable[[int, random.Random], dict[str, Any]]] = {
    "uniform": uniform,
    "shuffled": shuffled,
    "narrow": narrow,
    "sparse": sparse,
    "drifting": drifting,
    "huge": huge,
}


def documents(shape: str, count: int, seed: int = 7) -> Iterator[bytes]:
    """Yield BSON documents of a shape."""
    dice = random.Random(seed)
    make = SHAPES[shape]
    for number in range(count):
        yield bson.encode(make(number, dice))


def fill(uri: str, database: str, shape: str, count: int, prefix: str = "") -> str:
    """Fill the collection of a shape unless it already holds exactly `count` documents; return its name."""
    name = f"{prefix}{shape}_{count}"
    with MongoClient(uri, document_class=RawBSONDocument) as client:
        collection = client[database][name]
        if collection.estimated_document_count() == count:
            return name
        collection.drop()
        batch: list[RawBSONDocument] = []
        size = 0
        for raw in documents(shape, count):
            batch.append(RawBSONDocument(raw))
            size += len(raw)
            if len(batch) >= _INSERT or size > 30_000_000:
                collection.insert_many(batch, ordered=False)
                batch, size = [], 0
        if batch:
            collection.insert_many(batch, ordered=False)
    return name
