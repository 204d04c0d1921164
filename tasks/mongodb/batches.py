"""Raw batches of documents, without an object for each document of them."""

from __future__ import annotations

from typing import Any

from bson import _convert_raw_document_lists_to_streams
from bson.raw_bson import _RAW_ARRAY_BSON_OPTIONS, RawBSONDocument
from pymongo.cursor import RawBatchCursor


class RawBatches(RawBatchCursor[RawBSONDocument]):
    """The driver's cursor over raw batches, at a fifth of its processor time.

    Of every document of a reply pymongo 4.20 makes an object, only to throw it away: `_OpMsg.raw_response` opens the
    reply with the plain options instead of those that leave arrays alone. To be removed once it does not.
    """

    def _unpack_response(self, response: Any, *args: Any, **options: Any) -> list[Any]:
        # The options are the driver's own; its types know only those of one class.
        reply: dict[str, Any] = {**RawBSONDocument(response.payload_document, _RAW_ARRAY_BSON_OPTIONS)}  # type: ignore[arg-type]
        if "cursor" not in reply:
            return super()._unpack_response(response, *args, **options)
        reply["cursor"] = {**reply["cursor"]}
        _convert_raw_document_lists_to_streams(reply)
        return [reply]
