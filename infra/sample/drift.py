"""Changes the sample shop as living systems change: the second run of the demo meets them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Literal

from bson import Decimal128, ObjectId
from pymongo import DeleteOne, MongoClient, UpdateOne
from pymongo.database import Database

from infra.sample.catalogue import money, object_id

_DRIFT_SEED = 20


@dataclass(frozen=True, slots=True)
class Change:
    """One kind of change that was made.

    Attributes:
        kind: What happened.
        collection: Where.
        ids: The documents it happened to, in ascending order of `_id`.
        field: The field it happened to, "" for whole documents.
        detail: What a reader should know about it.
    """

    kind: Literal["new field", "renamed field", "changed type", "deleted", "updated", "inserted"]
    collection: str
    ids: tuple[Any, ...]
    field: str = ""
    detail: str = ""

    def __str__(self) -> str:
        where = f"{self.collection}.{self.field}" if self.field else self.collection
        return f"{self.kind}: {where} in {len(self.ids)} document(s): {self.detail}"


def drift(uri: str, database: str = "shop", round: int = 1, now: datetime | None = None) -> list[Change]:
    """Change the sample collections; every changed document gets `updated_at` = now.

    Args:
        uri: MongoDB connection string.
        database: Database that holds the sample.
        round: Which time this is: each round chooses other documents and adds another product.
        now: Time of the changes, by default the present; a test gives its own.

    Returns:
        What was changed, for the demo to tell and for a test to compare.
    """
    at = (now or datetime.now(UTC)).replace(microsecond=0)
    client: MongoClient[dict[str, Any]]
    with MongoClient(uri, appname="warehouse-sample", tz_aware=True) as client:
        shop: Database[Any] = client[database]
        random = Random(_DRIFT_SEED + round)
        customers = _shuffled(shop, "customers", random)
        orders = _shuffled(shop, "orders", random)
        share = max(len(orders) // 50, 3)
        return [
            _add_loyalty(shop, customers[: len(customers) // 3], at),
            _rename_phone(shop, at),
            _zip_to_text(shop, customers[len(customers) // 3 : len(customers) // 3 + share], at),
            _total_to_text(shop, orders[:share], at),
            _ship(shop, orders[share : 2 * share], at),
            _delete(shop, "orders", orders[2 * share : 3 * share], "gone without a trace; no tombstone is left"),
            _delete(shop, "customers", customers[-2:], "their orders remain"),
            *_sell_new_product(shop, round, customers[:5], at),
        ]


def _shuffled(shop: Database[Any], collection: str, random: Random) -> list[Any]:
    ids = sorted(document["_id"] for document in shop[collection].find({}, {"_id": 1}))
    random.shuffle(ids)
    return ids


def _update(shop: Database[Any], collection: str, updates: Iterable[tuple[Any, dict[str, Any]]]) -> tuple[Any, ...]:
    writes = [UpdateOne({"_id": key}, update) for key, update in updates]
    if writes:
        shop[collection].bulk_write(writes, ordered=False)
    return tuple(sorted(write._filter["_id"] for write in writes))


def _add_loyalty(shop: Database[Any], ids: list[Any], at: datetime) -> Change:
    tiers = ("bronze", "silver", "gold")
    updates = ((key, {"$set": {"loyalty_tier": tiers[n % 3], "updated_at": at}}) for n, key in enumerate(ids))
    return Change("new field", "customers", _update(shop, "customers", updates), "loyalty_tier", "a text")


def _rename_phone(shop: Database[Any], at: datetime) -> Change:
    ids = [document["_id"] for document in shop.customers.find({"phone": {"$exists": True}}, {"_id": 1})]
    update = {"$rename": {"phone": "phone_number"}, "$set": {"updated_at": at}}
    changed = _update(shop, "customers", ((key, update) for key in ids))
    return Change("renamed field", "customers", changed, "phone", "is now phone_number")


def _zip_to_text(shop: Database[Any], ids: list[Any], at: datetime) -> Change:
    found = shop.customers.find({"_id": {"$in": ids}}, {"address.zip": 1})
    updates = (
        (one["_id"], {"$set": {"address.zip": str(one["address"]["zip"]).zfill(5), "updated_at": at}}) for one in found
    )
    return Change("changed type", "customers", _update(shop, "customers", updates), "address.zip", "integer to text")


def _total_to_text(shop: Database[Any], ids: list[Any], at: datetime) -> Change:
    found = shop.orders.find({"_id": {"$in": ids}}, {"total": 1})
    updates = ((one["_id"], {"$set": {"total": str(one["total"]), "updated_at": at}}) for one in found)
    return Change("changed type", "orders", _update(shop, "orders", updates), "total", "decimal to text")


def _ship(shop: Database[Any], ids: list[Any], at: datetime) -> Change:
    updates = ((key, {"$set": {"status": "shipped", "updated_at": at}}) for key in ids)
    return Change("updated", "orders", _update(shop, "orders", updates), "status", "is now shipped")


def _delete(shop: Database[Any], collection: str, ids: list[Any], detail: str) -> Change:
    if ids:
        shop[collection].bulk_write([DeleteOne({"_id": key}) for key in ids], ordered=False)
    return Change("deleted", collection, tuple(sorted(ids)), detail=detail)


def _sell_new_product(shop: Database[Any], round: int, customers: list[Any], at: datetime) -> list[Change]:
    product = {
        "_id": object_id(_DRIFT_SEED, "product", round, at),
        "sku": f"NEW-{round:05d}",
        "name": "Copper Teapot",
        "category": {"main": "Kitchen", "sub": "Kettle"},
        "price": money(4_900),
        "cost": money(2_100),
        "currency": "EUR",
        "attributes": {"material": "copper", "weight_kg": 1.5},
        "tags": ["kitchen", "new"],
        "active": True,
        "created_at": at,
        "updated_at": at,
    }
    shop.products.replace_one({"_id": product["_id"]}, product, upsert=True)
    orders = [_order(product, round, number, customer, at) for number, customer in enumerate(customers)]
    events = [_purchase(order, at) for order in orders]
    for name, documents in (("orders", orders), ("events", events)):
        for document in documents:
            shop[name].replace_one({"_id": document["_id"]}, document, upsert=True)
    order_ids = tuple(sorted(order["_id"] for order in orders))
    return [
        Change("inserted", "products", (product["_id"],), detail=f"new product {product['sku']}"),
        Change("inserted", "orders", order_ids, detail="orders of the new product"),
        Change("inserted", "events", tuple(sorted(event["_id"] for event in events)), detail="their purchase events"),
    ]


def _order(product: dict[str, Any], round: int, number: int, customer: ObjectId, at: datetime) -> dict[str, Any]:
    placed = at - timedelta(minutes=number + 1)
    item = {
        "product_id": product["_id"],
        "sku": product["sku"],
        "product": {"name": product["name"], "category": product["category"]["main"]},
        "quantity": 1,
        "unit_price": product["price"],
        "discount": Decimal128("0.00"),
        "total": product["price"],
    }
    return {
        "_id": object_id(_DRIFT_SEED, f"order:{round}", number, placed),
        "order_number": f"D{round}-{number + 1}",
        "customer_id": customer,
        "session_id": f"drift-{round}-{number}",
        "status": "paid",
        "currency": "EUR",
        "items": [item],
        "subtotal": money(4_900),
        "discount": money(0),
        "shipping": money(490),
        "tax": money(860),
        "total": money(5_390),
        "payments": [{"method": "card", "amount": money(5_390), "status": "captured", "paid_at": placed}],
        "refunds": [],
        "shipping_address": {"street": "Lindenweg 1", "zip": 10115, "city": "Berlin", "country": "DE"},
        "placed_at": placed,
        "updated_at": at,
    }


def _purchase(order: dict[str, Any], at: datetime) -> dict[str, Any]:
    return {
        "_id": object_id(_DRIFT_SEED, f"event:{order['order_number']}", 0, order["placed_at"]),
        "session_id": order["session_id"],
        "visitor_id": f"v{order['order_number'].lower()}",
        "customer_id": order["customer_id"],
        "type": "purchase",
        "at": order["placed_at"],
        "url": "https://shop.example/new",
        "utm": {"source": "newsletter", "medium": "email", "campaign": "new_arrivals"},
        "device": {"type": "desktop"},
        "order_id": order["_id"],
        "updated_at": at,
    }
