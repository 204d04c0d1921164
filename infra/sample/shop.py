"""A sample shop: customers, products, orders and web events that belong together, streamed at any size.

Each customer and each anonymous visitor has random numbers of its own, so a document depends on the seed and on its own
number alone: every collection can be read by itself, in constant memory, and still fits the others.
"""

from __future__ import annotations

import hashlib
from bisect import bisect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property, lru_cache
from itertools import accumulate, chain
from random import Random
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from infra.sample import catalogue
from infra.sample.catalogue import Campaign, Product, Touch, money, object_id, random_of
from infra.sample.incidents import DAYS_BACK

Document = dict[str, Any]
COLLECTIONS = ("products", "customers", "orders", "events")

_VISITORS_PER_CUSTOMER = 1.5
_MEAN_DAYS_BETWEEN_VISITS = 22.0
_BUYS = 0.2
# After a visit a person may never come back: cohorts shrink.
_LEAVES = 0.16
# Share of buyers who never register, of browsers that are robots, and of people with a second browser.
_GUESTS, _BOTS, _TWO_DEVICES = 0.12, 0.03, 0.3
CURRENCIES = (("EUR", 1.0), ("EUR", 1.0), ("EUR", 1.0), ("CHF", 0.95), ("GBP", 0.86))
"""What people pay in, and what one euro of the price list is in it."""
# By month: January's sales, a quiet summer, the time before Christmas.
_SEASON = (1.1, 0.9, 0.95, 1.0, 1.0, 0.9, 0.8, 0.8, 0.95, 1.05, 1.4, 1.7)
_BLACK_FRIDAY = 4.0
_BOT = "Mozilla/5.0 (compatible; ExampleBot/1.0; +https://bot.example)"
_RETURNING_WEIGHT = {"email": 3.0, None: 2.5, "organic": 1.0, "paid_social": 0.5}
_WEEKDAY_WEIGHT = (1.0, 0.95, 0.95, 1.0, 1.1, 1.35, 1.4)
_CUSTOMER_TAGS = ("b2b", "vip", "wholesale", "early_adopter", "staff")
_DEVICES: tuple[Document, ...] = (
    {"type": "mobile", "os": "iOS"},
    {"type": "mobile", "os": "Android"},
    {"type": "desktop"},
)
_TAX_PERCENT = 19
_LONGEST_VISIT = timedelta(minutes=15)
ZONE = ZoneInfo("Europe/Berlin")
"""The shop's own zone, whose days its prices, its web pages and its web analytics follow."""


class Visit(NamedTuple):
    """One session of one person on the web shop, and the order it ended in, if any."""

    person: int
    number: int
    at: datetime
    touch: Touch
    depth: int
    order: int | None


@dataclass(frozen=True)
class Shop:
    """The whole sample, as a pure function of these four values.

    Attributes:
        seed: Any integer.
        customers: Number of registered customers; everything else follows from it.
        days: Number of days of history.
        until: End of the data in UTC, exclusive: nothing is dated at or after it.
        incidents: Whether something goes wrong in the last weeks (infra/sample/incidents.py).
    """

    seed: int
    customers: int
    days: int
    until: datetime
    incidents: bool = False

    @cached_property
    def start(self) -> datetime:
        """Midnight (UTC) of the first day."""
        last_day = (self.until - timedelta(microseconds=1)).date()
        return datetime.combine(last_day - timedelta(days=self.days - 1), datetime.min.time(), UTC)

    def suffers(self, incident: str, day: date) -> bool:
        """Return whether a day is that of an incident."""
        last = (self.until - timedelta(microseconds=1)).date()
        return self.incidents and (last - day).days == DAYS_BACK[incident]

    @cached_property
    def campaigns(self) -> tuple[Campaign, ...]:
        """The advertising campaigns behind the paid visits."""
        return catalogue.campaigns(self.seed, self.days)

    @cached_property
    def catalogue(self) -> tuple[Product, ...]:
        """All products; the one part that is held in memory."""
        count = min(max(self.customers // 25, 24), 2_000)
        return tuple(catalogue.products(self.seed, count, self.start, self.until))

    @cached_property
    def _popularity(self) -> list[float]:
        return list(accumulate(1 / (rank + 3) for rank in range(len(self.catalogue))))

    @cached_property
    def _day_weights(self) -> list[float]:
        return list(accumulate(self._day_weight(day) for day in range(self.days)))

    def _day_weight(self, offset: int) -> float:
        """Return how many people come for the first time: growth, weekday, season, Black Friday."""
        day = (self.start + timedelta(days=offset)).date()
        weight = (0.7 + 0.6 * offset / self.days) * _WEEKDAY_WEIGHT[day.weekday()] * _SEASON[day.month - 1]
        # The Friday after the fourth Thursday of November.
        is_black_friday = day.month == 11 and day.weekday() == 4 and 23 <= day.day <= 29
        return weight * (_BLACK_FRIDAY if is_black_friday else 1.0)

    @cached_property
    def _touches(self) -> list[tuple[list[Touch], list[float], list[float]]]:
        """Per day: the ways that are open, with cumulative weights for first and for later visits."""
        result = []
        for day in range(self.days):
            running = [campaign.touch for campaign in self.campaigns if campaign.first_day <= day <= campaign.last_day]
            touches = [*catalogue.UNPAID, *running]
            later = [touch.weight * _RETURNING_WEIGHT.get(touch.medium, 0.7) for touch in touches]
            result.append((touches, list(accumulate(touch.weight for touch in touches)), list(accumulate(later))))
        return result

    @cached_property
    def visits(self) -> Callable[[int], list[Visit]]:
        """The visits of a person: 0 to `customers` - 1 are customers, the next ones never register."""
        # Ids are asked for again and again while one person's documents are made; more than that is not kept.
        return lru_cache(maxsize=4)(self._visits)

    def _visits(self, person: int) -> list[Visit]:
        random = random_of(self.seed, "person", person)
        registered = person < self.customers
        day = bisect(self._day_weights, random.random() * self._day_weights[-1])
        at = self.start + timedelta(days=min(day, self.days - 1), milliseconds=random.randrange(86_400_000))
        loyalty = random.uniform(0.4, 1.6)
        visits: list[Visit] = []
        orders = 0
        while at < self.until - _LONGEST_VISIT and len(visits) < 60:
            touch = self._touch(random, at, first=not visits)
            buys = registered and random.random() < _BUYS * touch.conversion * loyalty
            depth = random.randint(2, 5) if buys else min(1 + int(random.expovariate(0.9)), 6)
            visits.append(Visit(person, len(visits), at, touch, depth, orders if buys else None))
            orders += buys
            if random.random() < (_LEAVES if registered else 0.5):
                break
            pause = random.expovariate(1 / (_MEAN_DAYS_BETWEEN_VISITS * (1 if registered else 4))) / loyalty
            at += timedelta(hours=2, milliseconds=int(pause * 86_400_000))
        return visits

    def _touch(self, random: Random, at: datetime, *, first: bool) -> Touch:
        touches, fresh, returning = self._touches[min((at - self.start).days, self.days - 1)]
        weights = fresh if first else returning
        return touches[min(bisect(weights, random.random() * weights[-1]), len(touches) - 1)]

    def all_visits(self) -> Iterator[Visit]:
        """Yield the visits of everybody, person by person."""
        people = self.customers + int(self.customers * _VISITORS_PER_CUSTOMER)
        return chain.from_iterable(map(self.visits, range(people)))

    def documents(self, collection: str) -> Iterator[Document]:
        """Yield the documents of one collection.

        Args:
            collection: One of `COLLECTIONS`.

        Raises:
            ValueError: For any other collection.
        """
        if collection == "products":
            return (product.document() for product in self.catalogue)
        if collection == "customers":
            return filter(None, (self.customer(number) for number in range(self.customers)))
        if collection == "orders":
            visits = chain.from_iterable(map(self.visits, range(self.customers)))
            return (self.order(visit) for visit in visits if visit.order is not None)
        if collection == "events":
            return chain.from_iterable(self.events(visit) for visit in self.all_visits())
        raise ValueError(f"unknown collection {collection!r}")

    # Customers

    def customer_id(self, person: int) -> Any:
        """Return the _id of a customer."""
        return object_id(self.seed, "customer", person, self._registered_at(person))

    def _registered_at(self, person: int) -> datetime:
        visits = self.visits(person)
        return visits[0].at if visits else self.start

    def _is_guest(self, person: int) -> bool:
        return random_of(self.seed, "guest", person).random() < _GUESTS

    def _name(self, person: int) -> tuple[str, str]:
        random = random_of(self.seed, "name", person)
        return random.choice(catalogue.FIRST_NAMES), random.choice(catalogue.LAST_NAMES)

    def _email(self, person: int) -> str:
        return f"{'.'.join(self._name(person))}.{person}@mail.example".lower().replace("'", "")

    def customer(self, person: int) -> Document | None:
        """Return a customer's document, or None for a guest and one whose first visit would lie after the end."""
        visits = self.visits(person)
        if not visits or self._is_guest(person):
            return None
        random = random_of(self.seed, "customer", person)
        first, last = self._name(person)
        created = visits[0].at
        address = _address(random)
        document: Document = {
            "_id": self.customer_id(person),
            "customer_number": 100_000 + person,
            "email": self._email(person),
            "name": {"first": first, "last": last},
            "address": address,
            "addresses": [{"kind": "billing", **address}],
            "tags": random.sample(_CUSTOMER_TAGS, random.choice((0, 0, 0, 1, 2))),
            "consent": {"email": random.random() < 0.7, "ads": random.random() < 0.5},
            "created_at": created,
            "updated_at": created,
        }
        if random.random() < 0.75:
            document["phone"] = f"+49 30 {random.randrange(1_000_000, 9_999_999)}"
        if random.random() < 0.4:
            document["birth_date"] = datetime(1950, 1, 1, tzinfo=UTC) + timedelta(days=random.randrange(20_000))
        if random.random() < 0.15:
            document["addresses"].append({"kind": "shipping", **_address(random)})
        return document

    # Orders

    def order_id(self, visit: Visit) -> Any:
        """Return the _id of the order that a visit ended in."""
        return object_id(self.seed, f"order:{visit.order}", visit.person, visit.at)

    def order(self, visit: Visit) -> Document:
        """Return the order that a visit ended in."""
        random = random_of(self.seed, f"order:{visit.order}", visit.person)
        placed = visit.at + timedelta(minutes=visit.depth + 2)
        currency, rate_of_prices = random_of(self.seed, "currency", visit.person).choice(CURRENCIES)
        day = placed.astimezone(ZONE).date()
        mispriced = self.suffers("wrong prices", day)
        items = self._items(random, placed, rate_of_prices / 100 if mispriced else rate_of_prices)
        coupon = random.choice(("WELCOME10", "NEWS5")) if random.random() < 0.18 else None
        subtotal = sum(item["quantity"] * item["cents"] for item in items)
        rate = {"WELCOME10": 10, "NEWS5": 5}.get(coupon or "", 0)
        for item in items:
            item["discount_cents"] = item["quantity"] * item["cents"] * rate // 100
        discount = sum(item["discount_cents"] for item in items)
        shipping = 0 if mispriced or subtotal - discount >= 5_000 else 490
        total = subtotal - discount + shipping
        status, changed, refunds = self._fate(random, placed, items, total)
        document: Document = {
            "_id": self.order_id(visit),
            "order_number": f"{100_000 + visit.person}-{(visit.order or 0) + 1}",
            **self._buyer(visit.person),
            "session_id": session_id(self.seed, visit),
            "status": status,
            "currency": currency,
            "items": [_item(item) for item in items],
            "subtotal": money(subtotal),
            "discount": money(discount),
            # Free shipping is stored as the integer 0, as application code is fond of doing.
            "shipping": money(shipping) if shipping else 0,
            "tax": money(total * _TAX_PERCENT // (100 + _TAX_PERCENT)),
            "total": money(total),
            "payments": _payments(random, total, placed),
            "refunds": refunds,
            "shipping_address": _address(random),
            "placed_at": placed,
            "updated_at": changed,
        }
        if self.suffers("no visits", day):
            del document["session_id"]
        if coupon:
            document["coupon"] = coupon
        if random.random() < 0.005:
            document["test"] = True
        if random.random() < 0.08:
            document["note"] = random.choice(("Leave at the door", "Gift: no invoice, please", "Ring twice\n2nd floor"))
        return document

    def _buyer(self, person: int) -> Document:
        """Return who an order names: an account, or the address that a guest leaves."""
        return {"email": self._email(person)} if self._is_guest(person) else {"customer_id": self.customer_id(person)}

    def _items(self, random: Random, at: datetime, rate: float) -> list[Document]:
        numbers = []
        for _ in range(min(1 + int(random.expovariate(0.8)), 8)):
            rank = bisect(self._popularity, random.random() * self._popularity[-1])
            numbers.append(min(rank, len(self.catalogue) - 1))
        chosen = [self.catalogue[number] for number in dict.fromkeys(numbers)]
        return [
            {
                "product": product,
                "quantity": random.choice((1, 1, 1, 1, 2, 2, 3)),
                "cents": round(product.price_at(at) * rate),
            }
            for product in chosen
        ]

    def _fate(
        self, random: Random, placed: datetime, items: Sequence[Document], total: int
    ) -> tuple[str, datetime, list[Document]]:
        """Return status, time of the last change and refunds: what has happened to an order until the end."""
        draw = random.random()
        steps = [("paid", placed + timedelta(minutes=2))]
        if draw < 0.03:
            steps.append(("cancelled", placed + timedelta(hours=random.randint(1, 20))))
        else:
            steps.append(("shipped", placed + timedelta(hours=random.randint(6, 60))))
            steps.append(("delivered", steps[-1][1] + timedelta(hours=random.randint(18, 96))))
        # A cancelled order is paid back without anything coming back; else what is sent back is.
        share = 100 if draw < 0.03 else random.choice((25, 50, 100, 100))
        returned, worth = ([], 0) if draw < 0.03 else _returned(items, share)
        cents = total if share == 100 else worth
        if draw < 0.09:
            name = "cancelled" if draw < 0.03 else "refunded" if cents == total else "partially_refunded"
            steps.append((name, steps[-1][1] + timedelta(hours=random.randint(1, 240))))
        reached = [step for step in steps if step[1] < self.until] or [("placed", placed)]
        refunded = draw < 0.09 and len(reached) == len(steps)
        reason = "cancelled" if draw < 0.03 else random.choice(("damaged", "wrong size", "changed mind"))
        refund = {"amount": money(cents), "reason": reason, "refunded_at": reached[-1][1]}
        if returned:
            refund["items"] = returned
        return (*reached[-1], [refund] if refunded else [])

    # Web events

    def events(self, visit: Visit) -> Iterator[Document]:
        """Yield the web events of a visit; an order's visit ends in its purchase event."""
        random = random_of(self.seed, f"visit:{visit.number}", visit.person)
        session = session_id(self.seed, visit)
        registered = visit.person < self.customers
        device, visitor = self._browser(visit, random)
        kinds = ["page_view", *(["product_view"] * (visit.depth - 1))]
        if visit.order is not None:
            kinds += ["add_to_cart", "checkout", "purchase"]
        elif visit.depth > 2 and random.random() < 0.4:
            # Carts that are left behind, some of them on the way to paying.
            kinds += ["add_to_cart", *(["checkout"] if random.random() < 0.3 else [])]
        for number, kind in enumerate(kinds):
            at = visit.at + timedelta(minutes=number, seconds=random.randrange(50))
            event: Document = {
                "_id": object_id(self.seed, f"event:{visit.number}:{number}", visit.person, visit.at),
                "session_id": session,
                "visitor_id": visitor,
                "type": kind,
                "at": at,
                "device": device,
                "updated_at": at,
            }
            if registered and visit.number and not self._is_guest(visit.person):
                event["customer_id"] = self.customer_id(visit.person)
            if number == 0:
                event |= _landing(visit.touch, random)
            elif kind == "purchase":
                # Back from paying: the payment page is the referrer, and not where the visit came from.
                event["referrer"] = "https://www.paypal.com/checkout"
            elif kind == "page_view":
                event["referrer"] = "https://shop.example/"
            if kind in ("product_view", "add_to_cart"):
                event["product_id"] = random.choice(self.catalogue).id
            if kind == "purchase":
                event["order_id"] = self.order_id(visit)
            yield event

    def _browser(self, visit: Visit, random: Random) -> tuple[Document, str]:
        """Return the device of a visit and the id of its browser: some people have two, some browsers are robots."""
        person = random_of(self.seed, "browser", visit.person)
        if visit.person >= self.customers and person.random() < _BOTS:
            return {"type": "desktop", "user_agent": _BOT}, f"v{visit.person:08x}"
        first = person.randrange(len(_DEVICES))
        second = person.random() < _TWO_DEVICES and random.random() < 0.4
        return _DEVICES[(first + second) % len(_DEVICES)], f"v{visit.person:08x}{'b' if second else ''}"


def session_id(seed: int, visit: Visit) -> str:
    """Return the id that the web shop gives to a visit."""
    return hashlib.blake2b(f"{seed}:{visit.person}:{visit.number}".encode(), digest_size=10).hexdigest()


def _landing(touch: Touch, random: Random) -> Document:
    landing: Document = {"url": "https://shop.example/"}
    if touch.referrer:
        landing["referrer"] = f"https://{touch.referrer}/"
    if touch.click_id and random.random() < 0.15:
        # The platform tags its links by itself, and nobody has added utm parameters.
        return {**landing, "url": f"https://shop.example/?{touch.click_id}={random.randrange(16**12):012x}"}
    if touch.source and (touch.campaign or touch.medium != "organic"):
        campaign = {"campaign": touch.campaign} if touch.campaign else {}
        landing["utm"] = {"source": touch.source, "medium": touch.medium, **campaign}
    return landing


def _address(random: Random) -> Document:
    city, country, code = random.choice(catalogue.CITIES)
    return {
        "street": f"{random.choice(catalogue.STREETS)} {random.randint(1, 199)}",
        "zip": code + random.randrange(80),
        "city": city,
        "country": country,
    }


def _item(item: Document) -> Document:
    product: Product = item["product"]
    return {
        "product_id": product.id,
        "sku": product.sku,
        "product": {"name": product.name, "category": product.category},
        "quantity": item["quantity"],
        "unit_price": money(item["cents"]),
        "discount": money(item["discount_cents"]),
        "total": money(item["quantity"] * item["cents"] - item["discount_cents"]),
    }


def _returned(items: Sequence[Document], percent: int) -> tuple[list[Document], int]:
    """Return the first units of an order that reach a share of its worth, in percent, and what they cost in cents."""
    worth = [item["quantity"] * item["cents"] - item["discount_cents"] for item in items]
    missing = sum(worth) * percent // 100
    found, cents = [], 0
    for position, (item, whole) in enumerate(zip(items, worth, strict=True)):
        if cents >= missing:
            break
        # Units of what is missing, rounded up.
        quantity = min(-(-(missing - cents) * item["quantity"] // max(whole, 1)), item["quantity"])
        part = whole * quantity // item["quantity"]
        returned = {"position": position, "product_id": item["product"].id, "quantity": quantity, "amount": money(part)}
        found.append(returned)
        cents += part
    return found, cents


def _payments(random: Random, total: int, placed: datetime) -> list[Document]:
    method = random.choice(("card", "card", "paypal", "invoice", "sepa"))
    voucher = min(1_000, total // 2) if random.random() < 0.05 else 0
    parts = [(method, total - voucher), *([("voucher", voucher)] if voucher else [])]
    return [
        {"method": name, "amount": money(cents), "status": "captured", "paid_at": placed + timedelta(minutes=1)}
        for name, cents in parts
    ]


def end_of(end_date: date | datetime | None) -> datetime:
    """Return the exclusive end of the data: the end of a date, a time as it is, or by default the last full hour."""
    if end_date is None:
        return datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    if isinstance(end_date, datetime):
        return end_date.astimezone(UTC)
    return datetime.combine(end_date + timedelta(days=1), datetime.min.time(), UTC)


def generate(
    seed: int, customers: int, days: int, end_date: date | datetime | None = None
) -> dict[str, Iterator[Document]]:
    """Return an iterator of documents per collection.

    Args:
        seed: Any integer; equal arguments give equal documents.
        customers: Number of customers; orders are about as many, events some ten times as many.
        days: Days of history.
        end_date: Last day of the data; a datetime ends it within the day; unset ends it at the last full hour.
    """
    shop = Shop(seed, customers, days, end_of(end_date))
    return {collection: shop.documents(collection) for collection in COLLECTIONS}
