"""What the product can do with Google Analytics 4; see `tasks.sources.connector`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks.marketing.ga4.config import Ga4Source
from tasks.marketing.rest.connector import ChannelConnector

if TYPE_CHECKING:
    from tasks.marketing.rest.channel import Channel
    from tasks.marketing.rest.common import Common


class Ga4Connector(ChannelConnector[Ga4Source]):
    """Properties of Google Analytics 4."""

    config = Ga4Source

    def open(self, name: str, source: Ga4Source, common: Common) -> Channel:
        """See `ChannelConnector`."""
        from tasks.marketing.ga4.channel import Ga4Channel

        return Ga4Channel(name, source, common)
