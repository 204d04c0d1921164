"""XXH3, 128 bits, in plain Python: the row hash where the native decoder is not installed.

Written after the xxHash specification; inputs shorter than 9 bytes are left out, as no document with an `_id` is.
"""

from __future__ import annotations

import struct
from functools import lru_cache

_MASK = (1 << 64) - 1
_P32_1, _P32_2, _P32_3 = 0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D
_P64_1, _P64_2, _P64_3 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9
_P64_4, _P64_5 = 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5
_SECRET = bytes.fromhex(
    "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671f"
    "cb79e64eccc0e578825ad07dccff7221b8084674f743248ee03590e6813a264c"
    "3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8"
    "a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364"
    "eac5ac8334d3ebc3c581a0fffa1363eb170ddd51b7f0da49d316552629d4689e"
    "2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e"
)
_STRIPE = 64
# The secret moves on 8 bytes a stripe; after as many stripes as fit the accumulators are scrambled.
_STRIPES_PER_BLOCK = (len(_SECRET) - _STRIPE) // 8
_BLOCK = _STRIPE * _STRIPES_PER_BLOCK
_LANES = struct.Struct("<8Q")
_PAIR = struct.Struct("<2Q")
_WORD = struct.Struct("<Q")


def xxh3_128(data: bytes, seed: int) -> bytes:
    """Return the big-endian digest of `data` (at least 9 bytes) with a 64-bit seed."""
    size = len(data)
    if size > 240:
        low, high = _long(data, seed)
    elif size > 128:
        low, high = _upper_middle(data, seed)
    elif size > 16:
        low, high = _lower_middle(data, seed)
    elif size > 8:
        low, high = _short(data, seed)
    else:
        raise ValueError("xxh3_128 takes 9 bytes or more here")
    return struct.pack(">2Q", high, low)


def _word(data: bytes, offset: int) -> int:
    return int(_WORD.unpack_from(data, offset)[0])


def _avalanche(value: int) -> int:
    value ^= value >> 37
    value = value * 0x165667919E3779F9 & _MASK
    return value ^ value >> 32


def _fold(left: int, right: int) -> int:
    product = left * right
    return (product & _MASK) ^ (product >> 64)


def _swap(value: int) -> int:
    return int.from_bytes(value.to_bytes(8, "little"), "big")


def _short(data: bytes, seed: int) -> tuple[int, int]:
    flip_low = ((_word(_SECRET, 32) ^ _word(_SECRET, 40)) - seed) & _MASK
    flip_high = ((_word(_SECRET, 48) ^ _word(_SECRET, 56)) + seed) & _MASK
    first, last = _word(data, 0), _word(data, len(data) - 8)
    product = (first ^ last ^ flip_low) * _P64_1
    low = ((product & _MASK) + ((len(data) - 1) << 54)) & _MASK
    last ^= flip_high
    high = ((product >> 64) + last + (last & 0xFFFFFFFF) * (_P32_2 - 1)) & _MASK
    low ^= _swap(high)
    product = low * _P64_2
    return _avalanche(product & _MASK), _avalanche(((product >> 64) + high * _P64_2) & _MASK)


def _mix(data: bytes, offset: int, secret_offset: int, seed: int) -> int:
    low, high = _PAIR.unpack_from(data, offset)
    secret_low, secret_high = _PAIR.unpack_from(_SECRET, secret_offset)
    return _fold(low ^ (secret_low + seed & _MASK), high ^ (secret_high - seed & _MASK))


def _mix_both(
    state: tuple[int, int], data: bytes, offsets: tuple[int, int], secret_offset: int, seed: int
) -> tuple[int, int]:
    first, second = offsets
    low = (state[0] + _mix(data, first, secret_offset, seed) & _MASK) ^ (sum(_PAIR.unpack_from(data, second)) & _MASK)
    high = (state[1] + _mix(data, second, secret_offset + 16, seed) & _MASK) ^ (
        sum(_PAIR.unpack_from(data, first)) & _MASK
    )
    return low, high


def _finish(state: tuple[int, int], size: int, seed: int) -> tuple[int, int]:
    low, high = state
    mixed = low * _P64_1 + high * _P64_4 + (size - seed) * _P64_2
    return _avalanche((low + high) & _MASK), -_avalanche(mixed & _MASK) & _MASK


def _lower_middle(data: bytes, seed: int) -> tuple[int, int]:
    size = len(data)
    state = (size * _P64_1 & _MASK, 0)
    for start in range((size - 1) // 32 * 16, -16, -16):
        state = _mix_both(state, data, (start, size - start - 16), 2 * start, seed)
    return _finish(state, size, seed)


def _upper_middle(data: bytes, seed: int) -> tuple[int, int]:
    size = len(data)
    state = (size * _P64_1 & _MASK, 0)
    for start in range(0, 128, 32):
        state = _mix_both(state, data, (start, start + 16), start, seed)
    state = (_avalanche(state[0]), _avalanche(state[1]))
    for start in range(128, size // 32 * 32, 32):
        state = _mix_both(state, data, (start, start + 16), start - 125, seed)
    # Offsets are those of the smallest secret allowed (136 bytes), whatever the secret's true size.
    state = _mix_both(state, data, (size - 16, size - 32), 136 - 17 - 16, -seed & _MASK)
    return _finish(state, size, seed)


@lru_cache(maxsize=64)
def _seeded_secret(seed: int) -> tuple[bytes, tuple[tuple[int, ...], ...]]:
    words = [_word(_SECRET, offset) for offset in range(0, len(_SECRET), 8)]
    seeded = struct.pack(
        "<24Q", *((word + (seed if index % 2 == 0 else -seed)) & _MASK for index, word in enumerate(words))
    )
    stripes = tuple(_LANES.unpack_from(seeded, 8 * index) for index in range(_STRIPES_PER_BLOCK + 1))
    return seeded, stripes


def _accumulate(lanes: list[int], stripe: tuple[int, ...], secret: tuple[int, ...]) -> None:
    for index, value in enumerate(stripe):
        key = value ^ secret[index]
        lanes[index ^ 1] += value
        lanes[index] += (key & 0xFFFFFFFF) * (key >> 32)


def _merge(lanes: list[int], secret: bytes, offset: int, start: int) -> int:
    keys = _LANES.unpack_from(secret, offset)
    total = start
    for index in range(0, 8, 2):
        total += _fold(lanes[index] & _MASK ^ keys[index], lanes[index + 1] & _MASK ^ keys[index + 1])
    return _avalanche(total & _MASK)


def _long(data: bytes, seed: int) -> tuple[int, int]:
    size = len(data)
    secret, stripes = _seeded_secret(seed)
    lanes = [_P32_3, _P64_1, _P64_2, _P64_3, _P64_4, _P32_2, _P64_5, _P32_1]
    scramble = stripes[_STRIPES_PER_BLOCK]
    # All stripes but the last, which may overlap the one before it.
    for index in range((size - 1) // _STRIPE):
        within = index % _STRIPES_PER_BLOCK
        _accumulate(lanes, _LANES.unpack_from(data, index * _STRIPE), stripes[within])
        if within == _STRIPES_PER_BLOCK - 1:
            lanes[:] = [_scrambled(lane & _MASK, key) for lane, key in zip(lanes, scramble, strict=True)]
    _accumulate(lanes, _LANES.unpack_from(data, size - _STRIPE), _LANES.unpack_from(secret, len(secret) - _STRIPE - 7))
    low = _merge(lanes, secret, 11, size * _P64_1)
    high = _merge(lanes, secret, len(secret) - _STRIPE - 11, ~(size * _P64_2))
    return low, high


def _scrambled(lane: int, key: int) -> int:
    return (lane ^ lane >> 47 ^ key) * _P32_1 & _MASK
