"""What the sample shop sells and how it advertises: fixed lists, and campaigns and products derived from a seed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

from bson import Decimal128, ObjectId

FIRST_NAMES = (
    "Ada",
    "Ben",
    "Carla",
    "David",
    "Eva",
    "Felix",
    "Greta",
    "Hugo",
    "Ines",
    "Jonas",
    "Klara",
    "Luis",
    "Mia",
    "Noah",
    "Olga",
    "Paul",
    "Rosa",
    "Simon",
    "Tilda",
    "Umut",
    "Vera",
    "Wim",
    "Xenia",
    "Yann",
    "Zoë",
    "Chloé",
    "José",
    "Søren",
    "Łukasz",
    "Nuño",
)
LAST_NAMES = (
    "Adler",
    "Berg",
    "Costa",
    "Dubois",
    "Eriksen",
    "Fischer",
    "García",
    "Hansen",
    "Ito",
    "Jansen",
    "Kowalski",
    "Lindqvist",
    "Müller",
    "Novák",
    "O'Brien",
    "Petit",
    "Quint",
    "Rossi",
    "Schäfer",
    "Tanaka",
    "Ünal",
    "Vogel",
    "Weiß",
    "Xu",
    "Young",
    "Zimmermann",
)
STREETS = (
    "Lindenweg",
    "Hauptstraße",
    "Rue-Neuve",
    "Via-Roma",
    "High-Street",
    "Kirchplatz",
    "Seestraße",
    "Marktgasse",
    "Parkallee",
    "Ringstraße",
)
CITIES = (
    ("Berlin", "DE", 10115),
    ("Hamburg", "DE", 20095),
    ("München", "DE", 80331),
    ("Wien", "AT", 1010),
    ("Graz", "AT", 8010),
    ("Zürich", "CH", 8001),
    ("Paris", "FR", 75001),
    ("Lyon", "FR", 69001),
    ("Milano", "IT", 20121),
    ("Amsterdam", "NL", 10110),
)
CATEGORIES = {
    "Kitchen": ("Kettle", "Pan", "Knife", "Grinder", "Scale"),
    "Office": ("Lamp", "Notebook", "Chair", "Desk", "Pen"),
    "Outdoor": ("Tent", "Lantern", "Bottle", "Backpack", "Stove"),
    "Home": ("Blanket", "Vase", "Mirror", "Candle", "Clock"),
}
MATERIALS = ("Oak", "Steel", "Linen", "Glass", "Wool", "Copper", "Ceramic", "Bamboo")
COLOURS = ("black", "white", "green", "blue", "sand", "red")


def object_id(seed: int, kind: str, number: int, at: datetime) -> ObjectId:
    """Return the ObjectId of thing `number` of a kind, made at `at`: always the same for the same arguments."""
    rest = hashlib.blake2b(f"{seed}:{kind}:{number}".encode(), digest_size=8).digest()
    return ObjectId(int(at.timestamp()).to_bytes(4, "big") + rest)


def random_of(seed: int, kind: str, number: int) -> Random:
    """Return the random numbers of one thing, which do not depend on how many others there are."""
    return Random(int.from_bytes(hashlib.blake2b(f"{seed}:{kind}:{number}".encode(), digest_size=8).digest(), "big"))


def money(cents: int) -> Decimal128:
    """Return an amount of cents as MongoDB's exact decimal with two places."""
    return Decimal128(Decimal(cents).scaleb(-2))


@dataclass(frozen=True, slots=True)
class Touch:
    """One way of reaching the shop.

    Attributes:
        source: utm_source, None for a direct visit.
        medium: utm_medium, None for a direct visit.
        campaign: utm_campaign, None where nobody tagged the link.
        referrer: Host the visitor came from, None for a direct visit.
        weight: Share of visits, relative to the other ways.
        conversion: Factor on the probability that a visit ends in an order.
        click_id: What the platform adds to its links, "" for none.
    """

    source: str | None
    medium: str | None
    campaign: str | None
    referrer: str | None
    weight: float
    conversion: float
    click_id: str = ""


@dataclass(frozen=True, slots=True)
class Campaign:
    """An advertising campaign: what it costs, and the visits it brings.

    Attributes:
        platform: google_ads, meta_ads, tiktok_ads or linkedin_ads.
        account_id: Account at the platform.
        campaign_id: Number at the platform.
        objective: What the platform optimises for.
        touch: The visits it brings; its name is their utm_campaign.
        cost_per_click_cents: Mean price of a click.
        click_rate: Clicks per impression.
        first_day: First day it runs, counted from the first day of the data.
        last_day: Last day it runs.
    """

    platform: str
    account_id: str
    campaign_id: int
    objective: str
    touch: Touch
    cost_per_click_cents: int
    click_rate: float
    first_day: int
    last_day: int


UNPAID = (
    Touch(None, None, None, None, 22.0, 1.5),
    Touch("google", "organic", None, "www.google.com", 20.0, 1.1),
    Touch("bing", "organic", None, "www.bing.com", 3.0, 1.0),
    Touch("newsletter", "email", "weekly_news", None, 8.0, 2.2),
    # A mail that bears the name of a paid campaign: none of its cost belongs to it.
    Touch("newsletter", "email", "search_brand", None, 1.0, 2.2),
    Touch("instagram", "social", None, "l.instagram.com", 5.0, 0.5),
    Touch("homeblog", "referral", None, "homeblog.example", 4.0, 0.9),
    Touch("dealhunter", "affiliate", "partner_2026", "dealhunter.example", 3.0, 1.2),
)
# Every ad is clicked once a day at least, which costs the dearest click of a small shop more than its visits do.
_PLANS = (
    # platform, utm_source, utm_medium, name, objective, weight, conversion, cents a click, click rate, from, to
    ("google_ads", "google", "cpc", "search_brand", "SEARCH", 9.0, 2.0, 70, 0.080, 0.0, 1.0),
    ("google_ads", "google", "cpc", "search_generic", "SEARCH", 8.0, 1.0, 120, 0.035, 0.0, 1.0),
    ("google_ads", "google", "cpc", "shopping_all", "SHOPPING", 6.0, 1.3, 150, 0.012, 0.2, 1.0),
    ("meta_ads", "facebook", "paid_social", "prospecting_lookalike", "OUTCOME_SALES", 7.0, 0.6, 130, 0.011, 0.0, 0.7),
    ("meta_ads", "instagram", "paid_social", "retargeting_cart", "OUTCOME_SALES", 4.0, 1.9, 190, 0.016, 0.1, 1.0),
    ("tiktok_ads", "tiktok", "paid_social", "spark_unboxing", "CONVERSIONS", 5.0, 0.35, 60, 0.009, 0.3, 1.0),
    ("tiktok_ads", "tiktok", "paid_social", "spring_drop", "TRAFFIC", 3.0, 0.2, 45, 0.010, 0.5, 0.8),
    ("linkedin_ads", "linkedin", "paid_social", "office_b2b", "WEBSITE_VISITS", 1.5, 0.8, 600, 0.004, 0.4, 1.0),
)
_CLICK_IDS = {"google_ads": "gclid", "tiktok_ads": "ttclid", "linkedin_ads": "li_fat_id"}
_ACCOUNTS = {"google_ads": "1234567890", "meta_ads": "2088", "tiktok_ads": "70112233", "linkedin_ads": "5050"}


def campaigns(seed: int, days: int) -> tuple[Campaign, ...]:
    """Return the campaigns of the shop over `days` days."""
    result = []
    for number, plan in enumerate(_PLANS):
        platform, source, medium, name, objective, weight, factor, cents, rate, start, end = plan
        touch = Touch(source, medium, name, f"www.{source}.com", weight, factor, _CLICK_IDS.get(platform, ""))
        campaign_id = 10_000_000_000 + random_of(seed, "campaign", number).randrange(10_000_000_000)
        last = max(int(end * (days - 1)), int(start * (days - 1)))
        account = _ACCOUNTS[platform]
        result.append(
            Campaign(platform, account, campaign_id, objective, touch, cents, rate, int(start * (days - 1)), last)
        )
    return tuple(result)


@dataclass(frozen=True, slots=True)
class Product:
    """A product as the shop sells it today, and the price it had before its last change."""

    number: int
    id: ObjectId
    sku: str
    name: str
    category: str
    kind: str
    price_cents: int
    earlier_price_cents: int
    cost_cents: int
    created_at: datetime
    updated_at: datetime

    def price_at(self, at: datetime) -> int:
        """Return the price in cents that held at a time."""
        return self.price_cents if at >= self.updated_at else self.earlier_price_cents

    def document(self) -> dict[str, Any]:
        """Return the product as the shop's database holds it."""
        extra = {"colour": COLOURS[self.number % len(COLOURS)]} if self.number % 3 else {}
        return {
            "_id": self.id,
            "sku": self.sku,
            "name": self.name,
            "category": {"main": self.category, "sub": self.kind},
            "price": money(self.price_cents),
            "cost": money(self.cost_cents),
            "currency": "EUR",
            "attributes": {"material": self.name.split()[0].lower(), "weight_kg": 0.25 + self.number % 40 / 8, **extra},
            "tags": [self.category.lower(), *(["new"] if self.number % 7 == 0 else [])],
            "active": self.number % 19 != 18,
            "created_at": self.created_at,
            "updated_at": self.updated_at,
        }


def product(seed: int, number: int, start: datetime, end: datetime) -> Product:
    """Return product `number`; one in five changes its price once between `start` and `end`."""
    random = random_of(seed, "product", number)
    category = list(CATEGORIES)[number % len(CATEGORIES)]
    kind = CATEGORIES[category][number // len(CATEGORIES) % 5]
    price = random.randrange(290, 6_000, 10) + 9
    created = start - timedelta(days=random.randint(30, 400), seconds=random.randrange(86_400))
    changes = number % 5 == 4
    changed = start + (end - start) * random.uniform(0.2, 0.9)
    return Product(
        number=number,
        id=object_id(seed, "product", number, created),
        sku=f"{category[:3].upper()}-{number:05d}",
        name=f"{MATERIALS[random.randrange(len(MATERIALS))]} {kind}",
        category=category,
        kind=kind,
        price_cents=price,
        earlier_price_cents=price + random.randrange(50, 400, 10) if changes else price,
        cost_cents=price * random.randint(35, 65) // 100,
        created_at=created,
        updated_at=changed.replace(microsecond=changed.microsecond // 1000 * 1000) if changes else created,
    )


def products(seed: int, count: int, start: datetime, end: datetime) -> Iterator[Product]:
    """Yield `count` products."""
    return (product(seed, number, start, end) for number in range(count))
