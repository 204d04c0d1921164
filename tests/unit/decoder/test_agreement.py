"""The native decoder and the reference give the same on generated, mutated and shuffled documents."""

from __future__ import annotations

import os
import random
import time
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.landing.decoder import DOCUMENT, KINDS, TYPE_KINDS, make_decoder
from tasks.landing.decoder.keeping import COLUMN
from tests.unit.decoder import bson_bytes as b
from tests.unit.decoder.agreement import assert_same, drain, plain

CHILDREN = ("items", "items.discounts", "items.value", "a.items", "b")
# How long the fuzz target runs; a machine of its own can give it hours.
FUZZ_SECONDS = float(os.environ.get("WAREHOUSE_FUZZ_SECONDS", "3"))

_keys = st.one_of(st.sampled_from(["_id", "a", "b", "items", "value", "", "x.y", "p|q"]), st.text(max_size=4)).map(
    lambda key: key.replace("\0", "0")
)
_scalars = st.one_of(
    st.integers(-(2**31), 2**31 - 1).map(b.int32),
    st.integers(-(2**63), 2**63 - 1).map(b.int64),
    st.floats().map(b.double),
    st.binary(min_size=8, max_size=8).map(lambda bits: (0x01, bits)),
    st.text(max_size=20).map(b.text),
    st.binary(max_size=14).map(b.text),
    st.booleans().map(b.boolean),
    st.integers(-(2**63), 2**63 - 1).map(b.date),
    st.binary(min_size=12, max_size=12).map(lambda bits: (0x07, bits)),
    st.binary(min_size=16, max_size=16).map(lambda bits: (0x13, bits)),
    st.builds(b.binary, st.integers(0, 255).filter(lambda subtype: subtype != 2), st.binary(max_size=17)),
    st.sampled_from([b.NULL, b.UNDEFINED, b.MINKEY, b.MAXKEY, b.timestamp(1, 2), b.regex(b"a", b"i")]),
    st.text(max_size=5).map(b.code),
)


def _compound(values: st.SearchStrategy[b.Value]) -> st.SearchStrategy[b.Value]:
    return st.one_of(
        st.lists(st.tuples(_keys, values), max_size=5).map(lambda pairs: b.sub(*pairs)),
        st.lists(values, max_size=4).map(b.array),
        st.builds(
            lambda content, pairs: b.code_with_scope(content, b.document(*pairs)),
            st.text(max_size=3),
            st.lists(st.tuples(_keys, values), max_size=2),
        ),
    )


_values = st.recursive(_scalars, _compound, max_leaves=12)
_documents = st.builds(
    lambda key, pairs: b.document(("_id", key), *pairs), _values, st.lists(st.tuples(_keys, _values), max_size=8)
)


@settings(max_examples=100, deadline=None)
@given(st.lists(_documents, max_size=6), st.integers(1, 3), st.integers(0, 2**64 - 1), st.booleans())
def test_generated_documents(documents: list[bytes], depth: int, seed: int, with_op: bool) -> None:
    assert_same(b"".join(documents), children=CHILDREN, max_depth=depth, seed=seed, with_op=with_op)


@settings(max_examples=50, deadline=None)
@given(st.lists(_documents, min_size=1, max_size=8), st.integers(1, 3000), st.booleans())
def test_small_memory(documents: list[bytes], max_bytes: int, keep: bool) -> None:
    assert_same(b"".join(documents), children=CHILDREN, max_bytes=max_bytes, documents=keep)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.one_of(_documents, st.binary(max_size=30).map(b.framed)), max_size=8), st.integers(1, 3000))
def test_kept_documents_are_those_of_the_rows_and_change_nothing_else(documents: list[bytes], max_bytes: int) -> None:
    raw = b"".join(documents)
    keeping, plain_decoder = make_decoder(max_bytes=max_bytes, documents=True), make_decoder()
    flushes, stops = drain(keeping, raw)
    (expected,), _ = drain(plain_decoder, raw)
    rejected = expected.rejects["bytes"].to_list()
    kept = [row for flush in flushes for row in flush.tables[""].get_column(COLUMN, default=pl.Series([]))]
    assert kept == [document for document in documents if document not in rejected]
    rows = pl.concat([flush.tables[""].drop(COLUMN, strict=False) for flush in flushes], how="diagonal")
    assert plain(rows.select(expected.tables[""].columns)) == plain(expected.tables[""])
    assert [row for flush in flushes for row in flush.rejects["bytes"]] == rejected
    counted = {"present": len(kept), "types": {"binary": len(kept)}, "empty": 0}
    assert keeping.stats()[""]["fields"].pop(DOCUMENT, counted) == counted
    # No stop holds more than there is room for, but for the document that passed it.
    sizes = [sum(map(len, flush.tables[""].get_column(COLUMN, default=pl.Series([])))) for flush in flushes]
    assert max(sizes) < max_bytes + max(map(len, documents), default=0) and len(stops) == len(flushes)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=80), st.booleans())
def test_any_bytes(raw: bytes, framed: bool) -> None:
    assert_same(b.framed(raw) if framed else raw)


@pytest.mark.parametrize("seed", range(5))
def test_many_documents(seed: int) -> None:
    generator = b.Generator(seed, wide=300 * (seed % 2))
    raw = b"".join(generator.document() for _ in range(2000))
    assert_same(raw, children=CHILDREN if seed % 2 else (), max_depth=1 + seed, seed=seed, max_bytes=50_000 << seed * 2)


def _mutate(generator: random.Random, raw: bytes) -> bytes:
    mutated = bytearray(raw)
    for _ in range(generator.randrange(1, 4)):
        at = generator.randrange(len(mutated))
        match generator.randrange(5):
            case 0:
                mutated[at] = generator.randrange(256)
            case 1:
                mutated[at] ^= 1 << generator.randrange(8)
            case 2:
                mutated[at] = generator.choice((0, 1, 2, 3, 4, 5, 0x0F, 0x7F, 0x80, 0xFF))
            case 3:
                del mutated[at : at + generator.randrange(1, 5)]
            case _:
                mutated[at:at] = generator.randbytes(generator.randrange(1, 5))
        if not mutated:
            break
    return bytes(mutated)


def _mended(raw: bytes) -> bytes:
    """Return `raw` with a fitting length prefix and end, so that decoding gets inside."""
    return b.framed(raw[4:-1]) if len(raw) >= 5 else raw


def test_fuzz_mutated_bytes() -> None:
    """The fuzz target: mutated documents for a bounded time, each found difference named by its seed."""
    deadline = time.monotonic() + FUZZ_SECONDS
    seed = int(os.environ.get("WAREHOUSE_FUZZ_SEED", "0"))
    while time.monotonic() < deadline:
        seed += 1
        generator, documents = random.Random(seed), b.Generator(seed)
        mutants = [_mutate(generator, documents.document(3)) for _ in range(30)]
        raw = b"".join(_mended(mutant) for mutant in mutants)
        try:
            assert_same(raw, children=CHILDREN, max_depth=generator.choice((1, 3, 8)))
            assert_same(raw, op="d", with_op=True)
            assert_same(mutants[0])
        except BaseException as error:
            error.add_note(f"WAREHOUSE_FUZZ_SEED={seed - 1} finds this again")
            raise


def _summary(decoder: Any, raw: bytes) -> tuple[Any, ...]:
    """Return what must not depend on the order of documents."""
    flushes, _ = drain(decoder, raw)
    rows: dict[str, list[tuple[Any, ...]]] = {}
    rejects = []
    for flush in flushes:
        for path, frame in flush.tables.items():
            _, values = plain(frame)
            for index in range(frame.height):
                row = {name: column[index] for name, column in values.items() if column[index] is not None}
                rows.setdefault(path, []).append(tuple(sorted(row.items(), key=lambda item: item[0])))
        rejects += flush.rejects.rows()
    return {path: sorted(found, key=repr) for path, found in rows.items()}, sorted(rejects, key=repr), decoder.stats()


@pytest.mark.parametrize("seed", range(3))
def test_order_of_documents_changes_nothing(make: Any, seed: int) -> None:
    generator = b.Generator(seed)
    documents = [generator.document() for _ in range(150)]
    expected = _summary(make(children=CHILDREN), b"".join(documents))
    assert expected[0][""]
    for shuffle in range(3):
        random.Random(shuffle).shuffle(documents)
        assert _summary(make(children=CHILDREN, max_bytes=20_000 << shuffle), b"".join(documents)) == expected


@pytest.mark.parametrize("seed", range(3))
def test_statistics_count_what_columns_hold(make: Any, seed: int) -> None:
    generator = b.Generator(seed)
    decoder = make(children=CHILDREN)
    (flush,), _ = drain(decoder, b"".join(generator.document() for _ in range(300)))
    checked = 0
    for table, frame in flush.tables.items():
        for path, field in decoder.stats()[table]["fields"].items():
            assert field["present"] == sum(field["types"].values()) <= decoder.stats()[table]["rows"]
            for kind in KINDS:
                # Single values of a child table are counted where they stood, and again as its values.
                is_child = (f"{table}.{path}" if table else path) in CHILDREN
                if kind == "json" or (path == "_id" and not table) or is_child:
                    continue
                counted = sum(count for name, count in field["types"].items() if TYPE_KINDS[name] == kind)
                column = f"{path}|{kind}"
                assert counted == (frame[column].count() if column in frame.columns else 0)
                checked += counted
    assert checked > 300


def test_a_frame_has_no_column_without_values(make: Any) -> None:
    generator = b.Generator(7)
    (flush,), _ = drain(make(), b"".join(generator.document() for _ in range(50)))
    values = [series for series in flush.tables[""] if "|" in series.name]
    assert len(values) > 5
    assert all(series.count() > 0 for series in values)
