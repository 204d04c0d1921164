"""What the product can do with Meta Ads; see `tasks.sources.connector`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks.marketing.meta_ads.config import MetaAdsSource
from tasks.marketing.rest.connector import ChannelConnector

if TYPE_CHECKING:
    from tasks.marketing.rest.channel import Channel
    from tasks.marketing.rest.common import Common


class MetaAdsConnector(ChannelConnector[MetaAdsSource]):
    """Accounts of Meta Ads."""

    config = MetaAdsSource

    def open(self, name: str, source: MetaAdsSource, common: Common) -> Channel:
        """See `ChannelConnector`."""
        from tasks.marketing.meta_ads.channel import MetaAdsChannel

        return MetaAdsChannel(name, source, common)
