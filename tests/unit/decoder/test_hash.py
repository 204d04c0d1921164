"""The row hash of both decoders against the xxHash library, through every path that depends on size."""

from __future__ import annotations

from typing import Any

import pytest
import xxhash

from tests.unit.decoder import bson_bytes as b

SEED = 2654435761


@pytest.mark.parametrize("size", [0, 3, 100, 200, 300, 1010, 5000])
@pytest.mark.parametrize("seed", [0, SEED, 2**64 - 1])
def test_row_hash_is_that_of_the_raw_document(make: Any, size: int, seed: int) -> None:
    raw = b.document(("_id", b.int32(1)), ("pad", b.text("x" * size)))
    decoder = make(seed=seed)
    decoder.push(b.document(("_id", b.int32(0))) + raw)
    assert decoder.flush().tables[""]["_hash"].to_list()[1] == xxhash.xxh3_128_digest(raw, seed=seed)
