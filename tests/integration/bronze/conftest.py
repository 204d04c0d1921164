"""Landed batches made from documents, and a warehouse to load them into."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import bson
import psycopg
import pytest

from tasks.bronze import native
from tasks.bronze.load import LoadResult, load_batch
from tasks.landing import Landing, Manifest
from tasks.landing.decoder import make_decoder
from tasks.landing.seen import Seen
from tasks.mongodb.config import MongoSource, MongoTable
from tasks.settings import Settings
from tasks.sources import TableRef

START = datetime(2026, 1, 1, tzinfo=UTC)


class Warehouse:
    """One table of one source: lands documents as batches, loads them, and answers questions."""

    def __init__(self, url: str, landing: Landing, source: str = "shop", table_name: str = "orders") -> None:
        self.url = url
        self.landing = landing
        self.place = (source, table_name)
        self.table = MongoTable()
        self.state: dict[str, Any] = {}
        self.ticks = 0

    def land(
        self,
        documents: Sequence[dict[str, Any] | bytes] = (),
        *,
        deletes: Sequence[Any] = (),
        ids: Sequence[Any] | None = None,
        mode: str = "incremental",
        scope: dict[str, Any] | None = None,
        part_rows: int = 1_000_000,
        checkpoint: dict[str, Any] | None = None,
        previous: dict[str, Any] | None = None,
    ) -> Manifest:
        """Land a batch; each is a minute younger than the one before."""
        self.ticks += 1
        extracted_at = START + timedelta(minutes=self.ticks)
        batch_id = f"{extracted_at:%Y%m%dT%H%M%S%fZ}-{self.ticks:08x}"
        decoder = make_decoder(children=self.table.child_paths, seed=self.table.fingerprint(), with_op=mode == "cdc")
        source, table_name = self.place
        rejected, seen = 0, Seen()
        with self.landing.writer(source, table_name, batch_id) as writer:
            chunks = [documents[start : start + part_rows] for start in range(0, len(documents), part_rows)] or [[]]
            for number, chunk in enumerate(chunks):
                raw = b"".join(d if isinstance(d, bytes) else bson.encode(d) for d in chunk)
                offset = decoder.push(raw)
                assert offset == len(raw)
                if number == len(chunks) - 1:
                    for key in deletes:
                        decoder.push_delete(bson.encode({"_id": key}))
                decoded = decoder.flush()
                for path, frame in decoded.tables.items():
                    seen.add(path, frame)
                writer.write(decoded.tables.pop(""))
                for path, frame in decoded.tables.items():
                    writer.write(frame, kind="child", child=path)
                writer.write(decoded.rejects, kind="rejects")
                rejected += decoded.rejects.height
            if ids is not None:
                sweeper = make_decoder()
                sweeper.push(b"".join(bson.encode({"_id": key}) for key in ids))
                writer.write(sweeper.flush().tables[""].select("_id"), kind="ids")
            segment = writer.finish(seen.add_to(decoder.stats()), 0, 0.1, rejected)
        previous = self.state if previous is None else previous
        self.state = {"tick": self.ticks} if checkpoint is None else checkpoint
        return self.landing.commit(
            source,
            table_name,
            batch_id,
            [segment],
            mode=mode,
            extracted_at=extracted_at,
            checkpoint=self.state,
            previous_checkpoint=previous,
            fingerprint=f"{self.table.fingerprint():016x}",
            **({"scope": scope} if scope else {}),
        )

    def load(self, *arguments: Any, **options: Any) -> LoadResult:
        """Land a batch and load it."""
        return self.load_landed(self.land(*arguments, **options))

    def load_landed(self, manifest: Manifest) -> LoadResult:
        """Load a landed batch."""
        return load_batch(self.url, self.landing, manifest, self.table)

    def rows(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        with psycopg.connect(self.url) as connection:
            return connection.execute(query, parameters or None).fetchall()

    def execute(self, statement: str) -> None:
        """Run a statement and commit it."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement)

    def value(self, query: str, *parameters: Any) -> Any:
        """Return the only value of a query."""
        [[found]] = self.rows(query, *parameters)
        return found

    def column_type(self, column: str, relation: str = "shop__orders") -> str | None:
        """Return a column's Postgres type, or None when there is no such column."""
        found = self.rows(
            "select data_type from information_schema.columns"
            " where table_schema = 'bronze' and table_name = %s and column_name = %s",
            relation,
            column,
        )
        return found[0][0] if found else None

    def changes(self) -> list[tuple[str, str]]:
        """Return (field, change) of the ledger, oldest first."""
        return self.rows("select field, change from ops.schema_changes order by id")


@pytest.fixture
def landing(tmp_path: Path) -> Landing:
    """A landing in a folder."""
    return Landing.open(str(tmp_path / "landing"))


@pytest.fixture
def warehouse(postgres_url: str, landing: Landing) -> Warehouse:
    """The table shop.orders of an empty warehouse."""
    return Warehouse(postgres_url, landing)


@pytest.fixture
def another(postgres_url: str, landing: Landing) -> Iterator[Callable[..., Warehouse]]:
    """Makes further tables of the same warehouse."""
    yield lambda source, table_name: Warehouse(postgres_url, landing, source, table_name)


@pytest.fixture(params=["native", "csv"])
def encoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each way of encoding rows for COPY."""
    if request.param == "csv":
        monkeypatch.setattr(native, "MODULE", None)
    elif not native.is_installed():
        pytest.skip("the native encoder is not installed")
    return str(request.param)


@pytest.fixture
def place(warehouse: Warehouse) -> tuple[TableRef, Settings]:
    """The table and the settings that lead to it; its source is never asked."""
    source = MongoSource.model_validate(
        {"kind": "mongodb", "uri": "mongodb://nowhere", "database": "shop", "tables": {"orders": {}}}
    )
    settings = Settings.model_validate({"url": warehouse.url, "landing": warehouse.landing.root})
    return TableRef("shop", "orders", source, warehouse.table), settings


def with_table(place: tuple[TableRef, Settings], table: MongoTable) -> TableRef:
    """Return the table with another configuration."""
    ref = place[0]
    return TableRef(ref.source_name, ref.table_name, ref.source, table)


@dataclass
class Odd:
    """A document whose last element has a type that no specification has, until it is mended."""

    raw: bytes

    @classmethod
    def of(cls, document: dict[str, Any]) -> Odd:
        """Return a document of which `odd` is the last field."""
        return cls(bson.encode(document)[:-1].replace(b"\x08odd\x00", b"\x7eodd\x00") + b"\x00")
