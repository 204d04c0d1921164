"""No document stops its table: whatever BSON may hold, each becomes a row or a reject, under any configuration."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks import database
from tasks.bronze.load import load_batch
from tasks.bronze.verify import verify
from tasks.landing import Landing, Manifest, new_batch_id
from tasks.landing.kinds import KINDS
from tasks.landing.lander import Lander
from tasks.mongodb.config import MongoTable
from tasks.ops import TableKey
from tests.unit.decoder import bson_bytes as b

KEYS = ("a", "b", "items", "value", "x.y", "", "p|q", "_rescued", "_document", "A", "long" * 20)
_tables = itertools.count()


def documents_of(seed: int, first: int, rows: list[list[str]], broken: bool) -> list[bytes]:
    """Return documents with these keys, repeated ones included, and odd values; of broken ones a byte is changed."""
    generator = b.Generator(seed)
    made = []
    for number, keys in enumerate(rows, first):
        fields = [(key, generator.value(3)) for key in keys]
        document = bytearray(b.document(("_id", b.int32(number)), *fields))
        if broken and fields and number % 3 == 0:
            # The first field's type, or any byte behind it but the end: the length stays right.
            at = 13 if seed % 2 else 14 + seed % (len(document) - 15)
            document[at] ^= 1 << (seed + number) % 8
        made.append(bytes(document))
    return made


def configurations() -> st.SearchStrategy[dict[str, Any]]:
    casts = st.sampled_from(sorted(KINDS)).map(lambda kind: {"cast": {"a": kind}})
    shown = st.lists(casts, max_size=2)
    hidden = st.lists(st.one_of(casts, st.sampled_from([{"hash": "b"}, {"drop": "b"}])), max_size=2)
    arrays = st.sampled_from([{}, {"items": "table"}, {"items": "table", "value": "table"}])
    return st.one_of(
        st.builds(lambda steps, found: {"transforms": steps, "arrays": found, "document": True}, shown, arrays),
        st.builds(lambda steps, found: {"transforms": steps, "arrays": found, "history": True}, hidden, arrays),
    )


class Line:
    """Raw batches through landing and loading, as a source of full reads would bring them."""

    def __init__(self, url: str, landing: Landing, config: dict[str, Any]) -> None:
        self.url, self.landing = url, landing
        self.table = MongoTable.model_validate(config)
        self.key = TableKey("any", f"t{next(_tables)}")

    def run(self, number: int, documents: list[bytes]) -> Manifest:
        at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=number)
        batch_id = new_batch_id(at)
        with self.landing.writer(*self.key, batch_id) as writer:
            lander = Lander(writer, self.table, 64 << 20, documents=self.table.document)
            lander.push(b"".join(documents))
            segment = lander.finish()
        manifest = self.landing.commit(
            *self.key, batch_id, [segment], mode="full", extracted_at=at, scope={"type": "snapshot"},
            checkpoint={"n": number}, previous_checkpoint={"n": number - 1} if number else {},
        )  # fmt: skip
        load_batch(self.url, self.landing, manifest, self.table)
        return manifest

    def frames(self, manifest: Manifest, child: str = "") -> Iterator[pl.DataFrame]:
        kind = ("child", child) if child else ("rows", "")
        yield from (self.landing.read(manifest, p) for p in manifest.parts if (p.kind, p.child) == kind)


@pytest.fixture(scope="module", autouse=True)
def key() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WAREHOUSE_HASH_KEY", "secret")
        yield


@pytest.mark.timeout(300)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.integers(0, 2**32),
    st.lists(st.lists(st.lists(st.sampled_from(KEYS), max_size=5), min_size=1, max_size=9), min_size=1, max_size=3),
    configurations(),
    st.booleans(),
)
def test_each_document_becomes_a_row_or_a_reject(
    module_postgres_url: str,
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    batches: list[list[list[str]]],
    config: dict[str, Any],
    broken: bool,
) -> None:
    folder: Path = tmp_path_factory.mktemp("any")
    line = Line(module_postgres_url, Landing.open(str(folder)), config)
    for number, drawn in enumerate(batches):
        # One that is surely a row, as a table of rejects alone has no columns.
        rows = [[], *drawn]
        documents = documents_of(seed + number, 100 * number, rows, broken)
        manifest = line.run(number, documents)
        relation = f"bronze.any__{line.key.table_name}"
        with psycopg.connect(module_postgres_url) as connection:
            kept = "_document" if line.table.document else "null::bytea"
            query = f"select _id, {kept} from {relation} where _deleted_at is null"
            live = dict(connection.execute(query.encode()).fetchall())
            rejected = connection.execute(
                "select document_id, bytes from ops.rejects where table_name = %s and batch_id = %s",
                [line.key.table_name, manifest.batch_id],
            ).fetchall()
        assert len(live) + len(rejected) == len(documents)
        if line.table.document:
            assert sorted([*live.values(), *(raw for _, raw in rejected)]) == sorted(documents)
        else:
            assert {str(n) for n in range(100 * number, 100 * number + len(rows))} == live.keys() | dict(
                rejected
            ).keys()
        with database.connect(module_postgres_url) as connection:
            children = {path: partial(line.frames, manifest, path) for path in line.table.child_paths}
            found = verify(connection, *line.key, partial(line.frames, manifest), children)
        assert found.differences == [] and found.equal
