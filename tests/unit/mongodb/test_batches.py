"""Raw batches against the driver's own cursor."""

from __future__ import annotations

from typing import Any

import bson
import pytest
from bson.raw_bson import RawBSONDocument
from hypothesis import given
from hypothesis import strategies as st
from pymongo import MongoClient
from pymongo.cursor import RawBatchCursor
from pymongo.message import _OpMsg

from tasks.mongodb.batches import RawBatches

_FIELDS = {"cursor": {"firstBatch": 1, "nextBatch": 1}}
_documents = st.lists(
    st.dictionaries(
        st.text(st.characters(codec="utf-8", exclude_characters="\0")), st.none() | st.integers(-5, 5) | st.text()
    ),
    max_size=12,
)


def unpacked(kind: type[RawBatchCursor[Any]], reply: dict[str, Any]) -> dict[str, Any]:
    """Return what a cursor makes of a reply."""
    with MongoClient(connect=False, document_class=RawBSONDocument) as client:
        cursor = kind(client.shop.orders)
        found = cursor._unpack_response(_OpMsg(0, bson.encode(reply)), None, client.codec_options, _FIELDS)
    assert len(found) == 1
    return plain(found[0])


def plain(value: Any) -> Any:
    """Return a reply without the classes that tell how it was read."""
    if isinstance(value, dict | RawBSONDocument):
        return {key: plain(part) for key, part in value.items()}
    return value


@given(_documents, st.sampled_from(["firstBatch", "nextBatch"]), st.sampled_from([0, 7]))
def test_a_batch_is_the_one_that_the_driver_gives(documents: list[dict[str, Any]], field: str, cursor_id: int) -> None:
    reply = {"cursor": {"id": bson.Int64(cursor_id), "ns": "shop.orders", field: documents}, "ok": 1.0}
    reply |= {"$clusterTime": {"clusterTime": bson.Timestamp(5, 1)}, "operationTime": bson.Timestamp(5, 1)}
    mine = unpacked(RawBatches, reply)
    assert mine == unpacked(RawBatchCursor, reply)
    assert b"".join(mine["cursor"][field]) == b"".join(map(bson.encode, documents))


def test_no_document_of_a_batch_becomes_an_object(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    real = RawBSONDocument.__init__

    def counted(self: RawBSONDocument, data: bytes, *options: Any) -> None:
        made.append(len(data))
        real(self, data, *options)

    monkeypatch.setattr(RawBSONDocument, "__init__", counted)
    unpacked(RawBatches, {"cursor": {"id": 0, "ns": "shop.orders", "nextBatch": [{"_id": n} for n in range(500)]}})
    assert 0 < len(made) < 10


def test_an_error_is_the_one_that_the_driver_gives() -> None:
    reply = {"ok": 0.0, "code": 91, "errmsg": "shutting down", "errorLabels": ["RetryableReadError"]}
    assert unpacked(RawBatches, reply) == unpacked(RawBatchCursor, reply) == reply
