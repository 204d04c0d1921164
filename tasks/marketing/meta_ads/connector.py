"""What the product can do with Meta Ads; see `tasks.sources.connector`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks.marketing.meta_ads.config import MetaAdsSource
from tasks.marketing.rest.connector import ChannelConnector

if TYPE_CHECKING:
    from tasks.marketing.rest.auth import TokenStore
    from tasks.marketing.rest.channel import Channel
    from tasks.marketing.rest.clock import Clock


class MetaAdsConnector(ChannelConnector[MetaAdsSource]):
    """Accounts of Meta Ads."""

    config = MetaAdsSource

    def open(self, name: str, source: MetaAdsSource, tokens: TokenStore, clock: Clock) -> Channel:
        """See `ChannelConnector`."""
        from tasks.marketing.meta_ads.channel import MetaAdsChannel

        return MetaAdsChannel(name, source, tokens, clock)
