"""What the product can do with Google Ads; see `tasks.sources.connector`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks.marketing.google_ads.config import GoogleAdsSource
from tasks.marketing.rest.connector import ChannelConnector

if TYPE_CHECKING:
    from tasks.marketing.rest.channel import Channel
    from tasks.marketing.rest.common import Common


class GoogleAdsConnector(ChannelConnector[GoogleAdsSource]):
    """Accounts of Google Ads."""

    config = GoogleAdsSource

    def open(self, name: str, source: GoogleAdsSource, common: Common) -> Channel:
        """See `ChannelConnector`."""
        from tasks.marketing.google_ads.channel import GoogleAdsChannel

        return GoogleAdsChannel(name, source, common)
