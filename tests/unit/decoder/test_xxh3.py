"""The row hash against the digests of the xxHash reference implementation."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.mongodb.decoder.xxh3 import xxh3_128
from tests.unit.decoder import bson_bytes as b

SEED = 2654435761
# Size of `bytes(7 * index % 256)`; digest by xxhsum's algorithm, one for each path through it.
DIGESTS = [
    (9, "3c8e1d8c0af7daf8c98b9ab7afb08ee4"),
    (16, "f35fb70d5734b5cfde14b8137ae24a8b"),
    (17, "a288d67c21198628eaf183f79bbeb8d6"),
    (128, "bf9e19eb84c285a299c4544f49352558"),
    (129, "3aa2f256c10e3168223540bafcd083c8"),
    (240, "159a9616aa8be71042d3118c45599db3"),
    (241, "a5a34020fd92003e57c65bcb87d22124"),
    (1024, "470849ae7637fee82afab949854b8e5c"),
    (1025, "5ca1202a200386c0f30386b65b55c0cd"),
]


@pytest.mark.parametrize(("size", "digest"), DIGESTS)
def test_known_digests(size: int, digest: str) -> None:
    assert xxh3_128(bytes(7 * index % 256 for index in range(size)), SEED).hex() == digest


@pytest.mark.parametrize("size", [0, 3, 100, 200, 300, 1010, 5000])
@pytest.mark.parametrize("seed", [0, SEED, 2**64 - 1])
def test_row_hash_is_that_of_the_raw_document(make: Any, size: int, seed: int) -> None:
    raw = b.document(("_id", b.int32(1)), ("pad", b.text("x" * size)))
    decoder = make(seed=seed)
    decoder.push(b.document(("_id", b.int32(0))) + raw)
    assert decoder.flush().tables[""]["_hash"].to_list()[1] == xxh3_128(raw, seed)


def test_too_short_is_refused() -> None:
    with pytest.raises(ValueError, match="9 bytes"):
        xxh3_128(bytes(8), 0)
