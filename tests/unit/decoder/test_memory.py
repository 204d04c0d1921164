"""Memory is bounded by bytes: push stops in time whatever the shape of the documents."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

import polars as pl
import pytest

from tasks.landing.decoder import MAX_PATHS, Decoder
from tests.unit.decoder import bson_bytes as b
from tests.unit.decoder.agreement import drain
from tests.unit.decoder.conftest import NEEDS_NATIVE

Make = Callable[..., Decoder]
ONE = b.int32(1)


def _frame_bytes(frame: pl.DataFrame) -> int:
    return int(frame.estimated_size())


def test_push_stops_when_enough_is_pending(make: Make) -> None:
    raw = b"".join(b.document(("_id", b.int32(index)), ("t", b.text("x" * 100))) for index in range(1000))
    decoder = make(max_bytes=10_000)
    flushes, stops = drain(decoder, raw)
    assert len(flushes) > 15
    assert sum(flush.tables[""].height for flush in flushes) == 1000
    assert all(10_000 <= pending < 10_500 for _, pending, _ in stops[:-1])
    assert all(rows == flush.tables[""].height for (_, _, rows), flush in zip(stops, flushes, strict=True))


def test_pending_bytes_are_what_frames_take(make: Make) -> None:
    documents = [
        b.document(("_id", b.int32(index)), ("t", b.text("x" * (index % 40))), (f"f{index % 50}", ONE))
        for index in range(2000)
    ]
    decoder = make()
    decoder.push(b"".join(documents))
    pending = decoder.pending_bytes
    assert 0.7 * pending < _frame_bytes(decoder.flush().tables[""]) < 1.2 * pending


def test_a_wide_document_behind_many_rows_waits_for_a_flush(make: Make) -> None:
    narrow = b"".join(b.document(("_id", b.int32(index))) for index in range(2000))
    wide = b.document(("_id", b.int32(-1)), *((f"f{index}", ONE) for index in range(5000)))
    decoder = make(max_bytes=1 << 20)
    assert decoder.push(narrow + wide) == len(narrow)
    assert decoder.flush().tables[""].shape == (2000, 3)
    assert decoder.push(narrow + wide, len(narrow)) == len(narrow + wide)
    assert decoder.flush().tables[""].shape == (1, 5003)


def test_five_thousand_keys_that_hardly_meet(make: Make) -> None:
    """Dense, 500 rows by 5,000 columns would take 20 MB; push never lets more than a few times the limit pend."""
    documents = [
        b.document(("_id", b.int32(row)), *((f"f{(row * 10 + index) % 5000}", ONE) for index in range(10)))
        for row in range(500)
    ]
    limit = 1 << 20
    flushes, stops = drain(make(max_bytes=limit), b"".join(documents))
    assert sum(flush.tables[""].height for flush in flushes) == 500
    assert max(pending for _, pending, _ in stops) < 4 * limit
    assert len(flushes) > 4
    total = sum(int(flush.tables[""].select(pl.exclude("_id", "_hash", "_rescued").count()).sum_horizontal().sum())
                for flush in flushes)  # fmt: skip
    assert total == 5000


def test_child_rows_of_one_document_cannot_burst_the_memory(make: Make) -> None:
    # Past 256 MiB of columns for its own rows, what is new to the table is set aside, and nothing is lost.
    rows, keys = 200_000, 160
    elements = b.element("0", b.NULL)
    last = b.element("0", b.sub(*((f"k{index}", ONE) for index in range(keys))))
    raw = b.framed(b.element("_id", ONE) + b"\x04l\0" + b.framed(elements * rows + last))
    decoder = make(children=["l"])
    decoder.push(raw)
    child = decoder.flush().tables["l"]
    kept = [name for name in child.columns if "|" in name]
    room = (256 << 20) // (rows + 1) - 77
    assert len(kept) == room // 9 < keys
    assert child["_rescued"][-1] == "{" + ",".join(f'"k{index}":1' for index in range(len(kept), keys)) + "}"
    assert decoder.stats()["l"]["overflow"] == keys - len(kept)


def test_a_hundred_levels(make: Make) -> None:
    value = ONE
    for _ in range(100):
        value = b.sub(("k", value))
    (flush,), _ = drain(make(), b.document(("_id", ONE), ("k", value)))
    assert flush.tables[""].columns[-1] == ".".join(["k"] * 8) + "|json"
    assert flush.tables[""].row(0)[-1] == '{"k":' * 93 + "1" + "}" * 93


def test_a_16_mb_document(make: Make) -> None:
    text = "é" * (8 << 20)
    raw = b.document(("_id", ONE), ("t", b.text(text[: (8 << 20) - 64])), ("n", ONE))
    decoder = make(max_bytes=1 << 20)
    assert decoder.push(raw + raw) == len(raw)
    row = decoder.flush().tables[""].row(0, named=True)
    assert row["t|string"] == text[: (8 << 20) - 64]
    assert row["n|int"] == 1
    assert decoder.push(raw + raw, len(raw)) == 2 * len(raw)


def test_sizes_past_what_arrow_addresses(make: Make) -> None:
    with pytest.raises(ValueError, match="2 GiB"):
        # Zero pages: this takes no memory.
        make().push(bytes(1 << 31))
    raw = bytearray(256 << 20)
    raw[:4] = len(raw).to_bytes(4, "little")
    small = b.document(("_id", ONE))
    decoder = make(max_bytes=1 << 40)
    assert decoder.push(bytes(raw) + small) == len(raw) + len(small)
    raw[:4] = (len(raw) + 1).to_bytes(4, "little")
    assert decoder.push(bytes(raw) + b"\0" + small) == len(raw) + 1 + len(small)
    flush = decoder.flush()
    assert flush.tables[""].height == 2
    assert flush.rejects["reason"].to_list() == ["document ends before its length", "document is larger than 256 MiB"]


def test_any_number_of_values_set_aside_costs_linear_time(make: Make) -> None:
    keys = 150_000
    raw = b.document(("_id", ONE), *((f"f{index}", b.NULL) for index in range(keys)))
    decoder = make()
    started = time.process_time()
    decoder.push(raw)
    (rescued,) = decoder.flush().tables[""]["_rescued"].to_list()
    assert rescued.count(":null") == keys - MAX_PATHS + 1
    # Square, it would take minutes.
    assert time.process_time() - started < 20


_PEAK = """
import resource, sys
from tasks.landing.decoder import make_decoder
from tests.unit.decoder import bson_bytes as b
documents = [b.document(("_id", b.int32(i)), *((f"field_{(i * 7 + k * 13) % 3000}", b.text("some text value " * 2))
             for k in range(40))) for i in range(3000)]
raw = b"".join(documents) * 8
decoder = make_decoder(implementation="native", max_bytes=16 << 20)
import polars
decoder.push(raw[: len(documents[0])]); decoder.flush()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
offset = rows = 0
while offset < len(raw):
    offset = decoder.push(raw, offset)
    rows += decoder.flush().tables[""].height
print(rows, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@NEEDS_NATIVE
def test_real_memory_stays_near_max_bytes() -> None:
    """Sparse documents of 3,000 keys in a process of their own, whose peak the kernel tells."""
    done = subprocess.run([sys.executable, "-c", _PEAK], capture_output=True, text=True, check=True)
    rows, peak = map(int, done.stdout.split())
    assert rows == 24_000
    assert peak < 6 * (16 << 20)
