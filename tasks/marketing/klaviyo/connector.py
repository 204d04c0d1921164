"""What the product can do with Klaviyo; see `tasks.sources.connector`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks.marketing.klaviyo.config import KlaviyoSource
from tasks.marketing.rest.connector import DeclaredConnector

if TYPE_CHECKING:
    from tasks.marketing.rest.common import Common
    from tasks.marketing.rest.config import ChannelTable
    from tasks.marketing.rest.declared import DeclaredChannel
    from tasks.sources.config import TableRef


class KlaviyoConnector(DeclaredConnector[KlaviyoSource]):
    """Accounts of Klaviyo."""

    config = KlaviyoSource

    def mode(self, ref: TableRef[KlaviyoSource, ChannelTable]) -> str:
        """See `Connector`."""
        return "incremental" if ref.source.declared().tables[ref.table_name].cursor else "window"

    def open(self, name: str, source: KlaviyoSource, common: Common) -> DeclaredChannel:
        """See `ChannelConnector`."""
        from tasks.marketing import versions
        from tasks.marketing.rest.declared import DeclaredChannel

        return DeclaredChannel(name, source.declared(), common, [versions.ending("klaviyo", source.version)])
