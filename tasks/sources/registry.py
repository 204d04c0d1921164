"""Which kinds of source there are, and where the connector of each is; none is imported before it is asked for.

The product's own stand in a table here. Another package adds kinds by entry points of the group `warehouse.sources`,
in the same form: the kind's name, and `module:Connector`.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tasks.sources.connector import Connector

ENTRY_POINTS = "warehouse.sources"
"""Group of the entry points by which an installed package adds kinds of source."""

_OWN = {
    "mongodb": "tasks.mongodb.connector:MongoConnector",
    "files": "tasks.marketing.files.connector:FilesConnector",
    "airbyte": "tasks.marketing.airbyte.connector:AirbyteConnector",
    "rest": "tasks.marketing.rest.connector:RestConnector",
    "ga4": "tasks.marketing.ga4.connector:Ga4Connector",
    "google_ads": "tasks.marketing.google_ads.connector:GoogleAdsConnector",
    "meta_ads": "tasks.marketing.meta_ads.connector:MetaAdsConnector",
    "tiktok_ads": "tasks.marketing.tiktok_ads.connector:TiktokAdsConnector",
    "klaviyo": "tasks.marketing.klaviyo.connector:KlaviyoConnector",
    "microsoft_ads": "tasks.marketing.microsoft_ads.connector:MicrosoftAdsConnector",
    "linkedin_ads": "tasks.marketing.linkedin_ads.connector:LinkedinAdsConnector",
}


class UnknownKind(LookupError):
    """No connector is registered under a name; the text lists those that are."""


@cache
def connector(kind: str) -> Connector[Any, Any]:
    """Return the connector of a kind of source; the same one each time, for it has no state.

    Args:
        kind: As sources.yaml names it.

    Raises:
        UnknownKind: There is none.
    """
    entry_points = _OWN if kind in _OWN else _OWN | _installed()
    if kind not in entry_points:
        raise UnknownKind(f"{kind!r} is no kind of source; there are: {', '.join(kinds())}")
    module, _, name = entry_points[kind].partition(":")
    made: Connector[Any, Any] = getattr(import_module(module), name)()
    return made


def kinds() -> tuple[str, ...]:
    """Return the names of all kinds, in order."""
    return tuple(sorted(_OWN | _installed()))


def _installed() -> dict[str, str]:
    return {entry.name: entry.value for entry in entry_points(group=ENTRY_POINTS)}
