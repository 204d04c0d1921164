"""Sample data: a shop in MongoDB, its ad spend, web analytics, exchange rates and drift, and the CDNOW purchases."""

from infra.sample.ads import ad_spend, write_ad_spend
from infra.sample.drift import Change, drift
from infra.sample.rates import write_rates
from infra.sample.seed import Size, seed_mongodb
from infra.sample.shop import COLLECTIONS, Shop, generate
from infra.sample.told import write_spend, write_visits

__all__ = [
    "COLLECTIONS",
    "Change",
    "Shop",
    "Size",
    "ad_spend",
    "drift",
    "generate",
    "seed_mongodb",
    "write_ad_spend",
    "write_rates",
    "write_spend",
    "write_visits",
]
