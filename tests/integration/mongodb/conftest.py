"""A table over a real MongoDB-wire server, extracted into a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pydantic import SecretStr
from pymongo import MongoClient
from pymongo.database import Database

from tasks.extract import ExtractContext, ExtractResult, extract_table
from tasks.landing import Landing, Manifest
from tasks.mongodb.config import MongoSource, MongoTable
from tasks.sources import TableRef


class Shop:
    """A database, a landing, and the extracts of one table between them."""

    def __init__(self, uri: str, database: str, root: Path | str) -> None:
        self.uri, self.name = uri, database
        self.client: MongoClient[dict[str, Any]] = MongoClient(uri)
        self.landing = Landing.open(str(root))
        self.state: dict[str, Any] = {}

    @property
    def database(self) -> Database[dict[str, Any]]:
        return self.client[self.name]

    def ref(self, table: str = "orders", **config: Any) -> TableRef:
        mongo_table = MongoTable.model_validate(config)
        source = MongoSource(kind="mongodb", uri=SecretStr(self.uri), database=self.name, tables={table: mongo_table})
        return TableRef("shop", table, source, mongo_table)

    def extract(self, ref: TableRef, **context: Any) -> ExtractResult:
        """Extract from the last landed checkpoint on, as if every batch had been loaded."""
        result = extract_table(ref, ExtractContext(self.landing, self.state, **context))
        if result.manifest:
            self.state = result.manifest.checkpoint
        return result

    def rows(self, manifest: Manifest | None, kind: str = "rows", child: str | None = None) -> pl.DataFrame:
        """Return all rows of a kind of a batch."""
        assert manifest is not None
        frames = [self.landing.read(manifest, part) for part in manifest.of_kind(kind, child)]
        return pl.concat(frames, how="diagonal") if frames else pl.DataFrame(schema={"_id": pl.String})

    def batches(self, table: str = "orders") -> list[Manifest]:
        return [self.landing.manifest("shop", table, batch) for batch in self.landing.batches("shop", table)]


@pytest.fixture
def shop(mongodb_uri: str, mongodb_database: str, tmp_path: Path) -> Iterator[Shop]:
    made = Shop(mongodb_uri, mongodb_database, tmp_path / "landing")
    yield made
    made.client.close()


@pytest.fixture
def keys() -> Callable[[pl.DataFrame], list[str]]:
    """The sorted ids of a frame."""
    return lambda frame: sorted(frame["_id"].to_list())
