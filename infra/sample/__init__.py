"""Sample data: a shop in MongoDB with the ad spend of its campaigns, its drift, and the CDNOW purchases."""

from infra.sample.ads import ad_spend, write_ad_spend
from infra.sample.drift import Change, drift
from infra.sample.seed import Size, seed_mongodb
from infra.sample.shop import COLLECTIONS, Shop, generate

__all__ = ["COLLECTIONS", "Change", "Shop", "Size", "ad_spend", "drift", "generate", "seed_mongodb", "write_ad_spend"]
