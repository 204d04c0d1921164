"""What the product can do with TikTok Ads; see `tasks.sources.connector`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks.marketing.rest.connector import ChannelConnector
from tasks.marketing.tiktok_ads.config import TiktokAdsSource

if TYPE_CHECKING:
    from tasks.marketing.rest.channel import Channel
    from tasks.marketing.rest.common import Common


class TiktokAdsConnector(ChannelConnector[TiktokAdsSource]):
    """Accounts of TikTok Ads."""

    config = TiktokAdsSource

    def open(self, name: str, source: TiktokAdsSource, common: Common) -> Channel:
        """See `ChannelConnector`."""
        from tasks.marketing.tiktok_ads.channel import TiktokAdsChannel

        return TiktokAdsChannel(name, source, common)
