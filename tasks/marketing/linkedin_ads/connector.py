"""What the product can do with LinkedIn Ads; see `tasks.sources.connector`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks.marketing.linkedin_ads.config import LinkedinAdsSource
from tasks.marketing.rest.connector import ChannelConnector

if TYPE_CHECKING:
    from tasks.marketing.rest.channel import Channel
    from tasks.marketing.rest.common import Common


class LinkedinAdsConnector(ChannelConnector[LinkedinAdsSource]):
    """Accounts of LinkedIn Ads."""

    config = LinkedinAdsSource

    def open(self, name: str, source: LinkedinAdsSource, common: Common) -> Channel:
        """See `ChannelConnector`."""
        from tasks.marketing.linkedin_ads.channel import LinkedinAdsChannel

        return LinkedinAdsChannel(name, source, common)
