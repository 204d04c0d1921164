"""What the product can do with other people's connectors; see `tasks.sources.connector`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tasks.marketing.airbyte.config import AirbyteSource
from tasks.marketing.rest.connector import ChannelConnector
from tasks.sources.connector import Offer

if TYPE_CHECKING:
    from tasks.marketing.airbyte.channel import AirbyteChannel
    from tasks.marketing.rest.common import Common
    from tasks.marketing.rest.config import ChannelTable
    from tasks.sources.config import TableRef


class AirbyteConnector(ChannelConnector[AirbyteSource]):
    """Sources that other people's connectors read."""

    config = AirbyteSource
    repeats_keys = True

    def mode(self, ref: TableRef[AirbyteSource, ChannelTable]) -> str:
        """See `Connector`."""
        return "incremental" if ref.source.tables[ref.table_name].mode == "incremental" else "window"

    def open(self, name: str, source: AirbyteSource, common: Common) -> AirbyteChannel:
        """See `ChannelConnector`."""
        from tasks.marketing.airbyte.channel import AirbyteChannel

        return AirbyteChannel(name, source, common)

    def offers(self, name: str, source: AirbyteSource) -> Iterator[Offer]:
        """See `Connector`."""
        from tasks.marketing.rest.auth import MemoryTokens
        from tasks.marketing.rest.clock import Clock
        from tasks.marketing.rest.common import Common

        for stream, told in sorted(self.open(name, source, Common(MemoryTokens(), Clock())).streams().items()):
            modes = {"incremental"} & {*told.get("supported_sync_modes", ())}
            key = tuple(".".join(path) for path in told.get("source_defined_primary_key") or ())
            fields = tuple((told.get("json_schema") or {}).get("properties") or ())
            yield Offer(stream, ("full", *modes), key, fields)
