"""BSON made byte by byte, so that tests can say what no encoder would write."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterable

# A value: its type byte and its bytes.
Value = tuple[int, bytes]


def int32(number: int) -> Value:
    return 0x10, struct.pack("<i", number)


def int64(number: int) -> Value:
    return 0x12, struct.pack("<q", number)


def double(number: float) -> Value:
    return 0x01, struct.pack("<d", number)


def text(content: str | bytes, kind: int = 0x02) -> Value:
    raw = content.encode() if isinstance(content, str) else content
    return kind, struct.pack("<i", len(raw) + 1) + raw + b"\0"


def code(content: str) -> Value:
    return text(content, 0x0D)


def symbol(content: str) -> Value:
    return text(content, 0x0E)


def boolean(value: bool) -> Value:
    return 0x08, bytes([value])


def date(milliseconds: int) -> Value:
    return 0x09, struct.pack("<q", milliseconds)


def objectid(hexadecimal: str) -> Value:
    return 0x07, bytes.fromhex(hexadecimal)


def binary(subtype: int, payload: bytes) -> Value:
    return 0x05, struct.pack("<iB", len(payload), subtype) + payload


def regex(pattern: bytes, options: bytes) -> Value:
    return 0x0B, pattern + b"\0" + options + b"\0"


def dbpointer(name: str, hexadecimal: str) -> Value:
    return 0x0C, text(name)[1] + bytes.fromhex(hexadecimal)


def code_with_scope(content: str, scope: bytes) -> Value:
    inner = text(content)[1] + scope
    return 0x0F, struct.pack("<i", len(inner) + 4) + inner


def timestamp(seconds: int, increment: int) -> Value:
    return 0x11, struct.pack("<II", increment, seconds)


def decimal(hexadecimal: str) -> Value:
    """Decimal128 from its 16 bytes in the order they stand in a document."""
    return 0x13, bytes.fromhex(hexadecimal)


NULL: Value = (0x0A, b"")
UNDEFINED: Value = (0x06, b"")
MINKEY: Value = (0xFF, b"")
MAXKEY: Value = (0x7F, b"")


def element(key: str | bytes, value: Value) -> bytes:
    return bytes([value[0]]) + (key.encode() if isinstance(key, str) else key) + b"\0" + value[1]


def document(*pairs: tuple[str | bytes, Value]) -> bytes:
    return framed(b"".join(element(key, value) for key, value in pairs))


def framed(content: bytes) -> bytes:
    return struct.pack("<i", len(content) + 5) + content + b"\0"


def sub(*pairs: tuple[str | bytes, Value]) -> Value:
    return 0x03, document(*pairs)


def array(values: Iterable[Value]) -> Value:
    return 0x04, document(*((str(index), value) for index, value in enumerate(values)))


_KEYS = ("a", "b", "c", "_id", "items", "value", "x.y", "p|q", "back\\slash", "", "$set", "ünï", "a" * 9, "discounts")
_TEXTS = ("", "x", "twelve bytes", "thirteen byte", "nul\0nul", 'quo"te\\', "line\nfeed\x7f\x1f", "ü€𝄞", "5", "-0",
          "1e3", "null", "0123456789abcdef01234567", "{", '"', "long text " * 9)  # fmt: skip
_INTS = (
    0,
    1,
    -1,
    5,
    2**31 - 1,
    -(2**31),
    2**53 + 1,
    2**63 - 1,
    -(2**63),
    253402300799999,
    253402300800000,
    1767225600001,
)
_DOUBLES = (0.0, -0.0, 1.0, 5.0, 0.1, 1e16, 9999999999999998.0, 1e-5, 1.5e-7, 1e22, 1.7976931348623157e308, 5e-324,
            float("nan"), float("inf"), float("-inf"), 9.223372036854775e18, -9.223372036854775808e18, 2.5)  # fmt: skip


class Generator:
    """Random documents, from a seed: every type, odd keys, duplicates, and few enough keys that they meet again."""

    def __init__(self, seed: int, wide: int = 0) -> None:
        self._random = random.Random(seed)
        self._keys = _KEYS + tuple(f"field_{index}" for index in range(wide))

    def document(self, levels: int = 5) -> bytes:
        pairs: list[tuple[str | bytes, Value]] = []
        if self._random.random() < 0.97:
            pairs.append(("_id", self.value(1)))
        pairs += self._pairs(levels)
        if self._random.random() < 0.05:
            self._random.shuffle(pairs)
        return document(*pairs)

    def _pairs(self, levels: int) -> list[tuple[str | bytes, Value]]:
        count = self._random.choice((0, 1, 2, 3, 5, 9))
        return [(self._random.choice(self._keys), self.value(levels)) for _ in range(count)]

    def value(self, levels: int) -> Value:
        pick = self._random.random()
        if levels > 0 and pick < 0.15:
            return sub(*self._pairs(levels - 1))
        if levels > 0 and pick < 0.3:
            return array(self.value(levels - 1) for _ in range(self._random.randrange(4)))
        return self._random.choice(self._SCALARS)(self)

    def _bits(self, size: int) -> bytes:
        return self._random.randbytes(size)

    def _any_text(self) -> str:
        return self._random.choice(_TEXTS)

    _SCALARS = (
        lambda self: int32(self._random.choice((0, 1, 5, -7, 2**31 - 1, -(2**31)))),
        lambda self: int64(self._random.choice(_INTS)),
        lambda self: double(self._random.choice(_DOUBLES)),
        lambda self: (0x01, self._bits(8)),
        lambda self: text(self._any_text()),
        lambda self: text(self._bits(self._random.randrange(6))),
        lambda self: boolean(self._random.random() < 0.5),
        lambda self: date(self._random.choice(_INTS)),
        lambda self: (0x07, self._bits(12)),
        lambda self: (0x13, self._bits(16)),
        lambda self: (
            0x13,
            ((self._random.randrange(6130, 6220) << 113) | self._random.choice((0, 5, 50, 123, 10**34 - 1))).to_bytes(
                16, "little"
            ),
        ),
        lambda self: binary(self._random.choice((0, 3, 4, 5, 9, 0x80)), self._bits(self._random.choice((0, 3, 16)))),
        lambda self: binary(2, struct.pack("<i", 3) + b"abc"),
        lambda self: regex(b"^a", b"im"),
        lambda self: regex(self._bits(2).replace(b"\0", b"."), b""),
        lambda self: code(self._any_text()),
        lambda self: symbol(self._any_text()),
        lambda self: code_with_scope(self._any_text(), document(*self._pairs(0))),
        lambda self: dbpointer("db.c", "0123456789abcdef01234567"),
        lambda self: timestamp(1767225600, 3),
        lambda self: NULL,
        lambda self: UNDEFINED,
        lambda self: MINKEY,
        lambda self: MAXKEY,
    )
