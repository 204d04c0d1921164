"""What the product can do with Microsoft Ads; see `tasks.sources.connector`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks.marketing.microsoft_ads.config import MicrosoftAdsSource
from tasks.marketing.rest.connector import ChannelConnector

if TYPE_CHECKING:
    from tasks.marketing.rest.channel import Channel
    from tasks.marketing.rest.common import Common


class MicrosoftAdsConnector(ChannelConnector[MicrosoftAdsSource]):
    """Accounts of Microsoft Ads."""

    config = MicrosoftAdsSource

    def open(self, name: str, source: MicrosoftAdsSource, common: Common) -> Channel:
        """See `ChannelConnector`."""
        from tasks.marketing.microsoft_ads.channel import MicrosoftAdsChannel

        return MicrosoftAdsChannel(name, source, common)
