"""Raw batches against the driver's own cursor."""

from __future__ import annotations

from typing import Any

import bson
import pytest
from bson.errors import BSONError
from bson.raw_bson import RawBSONDocument
from hypothesis import given
from hypothesis import strategies as st
from pymongo import MongoClient
from pymongo.cursor import RawBatchCursor
from pymongo.message import _OpMsg

from tasks.mongodb import batches
from tasks.mongodb.batches import RawBatches

_FIELDS = {"cursor": {"firstBatch": 1, "nextBatch": 1}}
_documents = st.lists(
    st.dictionaries(
        st.text(st.characters(codec="utf-8", exclude_characters="\0")), st.none() | st.integers(-5, 5) | st.text()
    ),
    max_size=12,
)


def unpacked(kind: type[RawBatchCursor[Any]], reply: bytes) -> dict[str, Any]:
    """Return what a cursor makes of a reply."""
    with MongoClient(connect=False, document_class=RawBSONDocument) as client:
        cursor = kind(client.shop.orders)
        found = cursor._unpack_response(_OpMsg(0, memoryview(reply)), None, client.codec_options, _FIELDS)
    assert len(found) == 1
    return plain(found[0])


def plain(value: Any) -> Any:
    """Return a reply without the classes that tell how it was read."""
    if isinstance(value, dict | RawBSONDocument):
        return {key: plain(part) for key, part in value.items()}
    return value


def encoded(documents: list[dict[str, Any]], field: str = "nextBatch", cursor_id: int = 7) -> bytes:
    """Return a server's reply."""
    reply = {"cursor": {"id": bson.Int64(cursor_id), "ns": "shop.orders", field: documents}, "ok": 1.0}
    reply |= {"$clusterTime": {"clusterTime": bson.Timestamp(5, 1)}, "operationTime": bson.Timestamp(5, 1)}
    return bson.encode(reply)


@given(_documents, st.sampled_from(["firstBatch", "nextBatch"]), st.sampled_from([0, 7]))
def test_a_batch_is_the_one_that_the_driver_gives(documents: list[dict[str, Any]], field: str, cursor_id: int) -> None:
    reply = encoded(documents, field, cursor_id)
    mine = unpacked(RawBatches, reply)
    assert mine == unpacked(RawBatchCursor, reply)
    # Nested, as `encode` moves the `_id` of a document that stands alone to its front.
    expected = [bson.encode({"": document})[6:-1] for document in documents]
    assert b"".join(mine["cursor"][field]) == b"".join(expected)


def test_no_document_of_a_batch_becomes_an_object(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    real = RawBSONDocument.__init__

    def counted(self: RawBSONDocument, data: bytes, *options: Any) -> None:
        made.append(len(data))
        real(self, data, *options)

    monkeypatch.setattr(RawBSONDocument, "__init__", counted)
    unpacked(RawBatches, encoded([{"_id": n} for n in range(500)]))
    assert 0 < len(made) < 10


def test_an_error_is_the_one_that_the_driver_gives() -> None:
    reply = {"ok": 0.0, "code": 91, "errmsg": "shutting down", "errorLabels": ["RetryableReadError"]}
    raw = bson.encode(reply)
    assert unpacked(RawBatches, raw) == unpacked(RawBatchCursor, raw) == reply


@given(_documents, st.data())
def test_a_damaged_reply_is_never_read_otherwise_than_the_driver_reads_it(
    documents: list[dict[str, Any]], data: st.DataObject
) -> None:
    damaged = bytearray(encoded(documents))
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        expected = unpacked(RawBatchCursor, bytes(damaged))
    except (
        AttributeError,
        BSONError,
        IndexError,
        ValueError,
    ):  # the first: an array in a document's place
        return
    assert unpacked(RawBatches, bytes(damaged)) == expected


def test_without_the_native_module_the_driver_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "split_reply", None)
    reply = encoded([{"_id": 1}, {"_id": 2}])
    assert unpacked(RawBatches, reply) == unpacked(RawBatchCursor, reply)
