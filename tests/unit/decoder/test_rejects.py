"""Malformed documents: each a reject with reason, place and bytes, and nothing else of its batch harmed."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from tasks.landing.decoder import MAX_NESTING, Decoder
from tests.unit.decoder import bson_bytes as b
from tests.unit.decoder.agreement import drain

Make = Callable[..., Decoder]
ONE = b.int32(1)
ID = ("_id", b.int32(7))
GOOD = b.document(("_id", b.text("good")), ("a", ONE))


def _nested(levels: int) -> b.Value:
    value = ONE
    for _ in range(levels):
        value = b.sub(("k", value))
    return value


MALFORMED: list[tuple[bytes, str, str | None, str | None]] = [
    # Document; reason; path; `_id`.
    (b.document(("a", ONE)), "no _id", None, None),
    (b.document(("d", b.sub(("_id", ONE)))), "no _id", None, None),
    (b.document(ID)[:-1] + b"\x01", "document does not end with a zero byte", None, None),
    (b.framed(b.element(*ID) + b"\0"), "document ends before its length", None, "7"),
    (b.framed(b.element(*ID) + b"\x10ab"), "key has no end", None, "7"),
    (b.document(ID, (b"\xff", ONE)), "key is not valid UTF-8", None, "7"),
    (b.document(ID, ("a", b.sub((b"\xc3(", ONE)))), "key is not valid UTF-8", "a", "7"),
    (b.document(ID, ("a", b.array([b.sub((b"\xc3(", ONE))]))), "key is not valid UTF-8", "a.0", "7"),
    (b.document(ID, ("a", (0x10, b"\1\0\0"))), "value is cut off", "a", "7"),
    (b.document(ID, ("a", (0x01, b""))), "value is cut off", "a", "7"),
    (b.document(ID, ("a", (0x13, bytes(15)))), "value is cut off", "a", "7"),
    (b.document(ID, ("a", (0x07, bytes(11)))), "value is cut off", "a", "7"),
    (b.document(ID, ("a", (0x08, b"\x02"))), "boolean is neither 0 nor 1", "a", "7"),
    (b.document(ID, ("a", (0x14, b""))), "unknown type 0x14", "a", "7"),
    (b.document(ID, ("a.b", (0x80, b""))), "unknown type 0x80", "a\\.b", "7"),
    (b.document(ID, ("a", (0x02, struct.pack("<i", 0) + b"\0"))), "string length is wrong", "a", "7"),
    (b.document(ID, ("a", (0x02, struct.pack("<i", -1) + b"\0"))), "string length is wrong", "a", "7"),
    (b.document(ID, ("a", (0x02, struct.pack("<i", 3) + b"x\0"))), "string length is wrong", "a", "7"),
    (b.document(ID, ("a", (0x02, struct.pack("<i", 2**31 - 1) + b"x\0"))), "string length is wrong", "a", "7"),
    (b.document(ID, ("a", (0x02, struct.pack("<i", 2) + b"xy"))), "string does not end with a zero byte", "a", "7"),
    (b.document(ID, ("a", (0x02, b"\1\0"))), "value is cut off", "a", "7"),
    (b.document(ID, ("a", (0x05, struct.pack("<iB", -1, 0)))), "binary length is wrong", "a", "7"),
    (b.document(ID, ("a", (0x05, struct.pack("<iB", 9, 0) + b"x"))), "binary length is wrong", "a", "7"),
    (b.document(ID, ("a", (0x05, struct.pack("<i", 0)))), "binary length is wrong", "a", "7"),
    (b.document(ID, ("a", b.binary(2, b"abc"))), "binary length is wrong", "a", "7"),
    (b.document(ID, ("a", b.binary(2, struct.pack("<i", 9) + b"abc"))), "binary length is wrong", "a", "7"),
    (b.document(ID, ("a", (0x0B, b"no end"))), "value is cut off", "a", "7"),
    (b.document(ID, ("a", (0x0B, b"pattern\0no end"))), "value is cut off", "a", "7"),
    (b.document(ID, ("a", (0x0C, b.text("c")[1] + bytes(11)))), "value is cut off", "a", "7"),
    (b.document(ID, ("a", (0x0F, struct.pack("<i", 99) + b"x"))), "code length is wrong", "a", "7"),
    (b.document(ID, ("a", (0x0F, struct.pack("<i", 3)))), "code length is wrong", "a", "7"),
    (
        b.document(ID, ("a", (0x0F, struct.pack("<i", 15) + b.text("")[1] + b.document() + b"\0"))),
        "code length is wrong",
        "a",
        "7",
    ),
    (b.document(ID, ("a", (0x03, struct.pack("<i", 4)))), "document is cut off", "a", "7"),
    (b.document(ID, ("a", (0x03, struct.pack("<i", 4) + b"\0"))), "document length is wrong", "a", "7"),
    (b.document(ID, ("a", (0x03, struct.pack("<i", -5) + b"\0"))), "document length is wrong", "a", "7"),
    (b.document(ID, ("a", (0x04, struct.pack("<i", 9) + b"\0"))), "document length is wrong", "a", "7"),
    (b.document(ID, ("a", (0x03, struct.pack("<i", 5) + b"\1"))), "document does not end with a zero byte", "a", "7"),
    (b.document(ID, ("a", b.sub(("b", (0x08, b"\x09"))))), "boolean is neither 0 nor 1", "a.b", "7"),
    (
        b.document(ID, ("a", b.array([ONE, b.sub(("b|", (0x08, b"\x09")))]))),
        "boolean is neither 0 nor 1",
        "a.1.b\\|",
        "7",
    ),
    (b.document(("a", (0x08, b"\x09")), ID), "boolean is neither 0 nor 1", "a", None),
    (b.document(("_id", (0x08, b"\x09")), ID), "boolean is neither 0 nor 1", "_id", None),
    (
        b.document(ID, ("k", _nested(MAX_NESTING + 1))),
        f"nested deeper than {MAX_NESTING} levels",
        ".".join(["k"] * (MAX_NESTING + 1)),
        "7",
    ),
]


@pytest.mark.parametrize(("raw", "reason", "path", "key"), MALFORMED)
def test_a_bad_document_is_one_reject(make: Make, raw: bytes, reason: str, path: str | None, key: str | None) -> None:
    decoder = make()
    (flush,), _ = drain(decoder, GOOD + raw + GOOD)
    assert flush.tables[""]["_id"].to_list() == ["good", "good"]
    (reject,) = flush.rejects.rows(named=True)
    assert (reject["reason"], reject["path"], reject["_id"], reject["bytes"]) == (reason, path, key, raw)
    assert (reject["document"] is not None) == (reason == "no _id")
    # Nothing of it is counted or makes a column.
    assert list(decoder.stats()[""]["fields"]) == ["_id", "a"]
    assert decoder.stats()[""]["rows"] == 2


def test_a_document_without_id_is_readable_in_its_reject(make: Make) -> None:
    (flush,), _ = drain(make(), b.document(("a", b.array([b.NULL])), ("b", b.text("x"))))
    assert flush.rejects["document"].to_list() == ['{"a":[null],"b":"x"}']


@pytest.mark.parametrize("rest", [b"\0", b"\5\0\0", struct.pack("<i", 4) + b"\0", struct.pack("<i", -9) + bytes(9),
                                  struct.pack("<i", 2**31 - 1) + bytes(9), GOOD[:-1]])  # fmt: skip
def test_an_unusable_length_rejects_the_rest(make: Make, rest: bytes) -> None:
    decoder = make()
    raw = GOOD + rest
    assert decoder.push(raw) == len(raw)
    flush = decoder.flush()
    assert flush.tables[""].height == 1
    assert flush.rejects.rows() == [(None, "length prefix is unusable", None, None, rest)]


def test_every_cut_and_every_changed_byte_is_survived(make: Make) -> None:
    generator = b.Generator(21)
    raw = b.document(ID, *((f"v{index}", generator.value(2)) for index in range(40)))
    decoder = make(children=["v1", "v2"])
    for cut in range(len(raw)):
        decoder.push(raw[:cut])
        decoder.push(b.framed(raw[4:cut]))
        decoder.push(raw[:cut] + bytes([raw[cut] ^ 0x81]) + raw[cut + 1 :])
    flush = decoder.flush()
    assert flush.rejects.height + flush.tables[""].height >= 3 * (len(raw) - 1)


def test_rejects_count_as_pending_memory(make: Make) -> None:
    bad = b.document(("x", b.text("y" * 1000)))
    decoder = make(max_bytes=5000)
    offset = decoder.push(bad * 100)
    assert 2 * len(bad) <= offset < 6 * len(bad)
    assert decoder.flush().rejects.height == offset // len(bad)
