"""Channels in tests: fakes on a port of their own, a source that reads them, and what has landed of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import polars as pl

from infra.sample.channels.server import Answer, Asked, Fake, Server
from tasks.extract import ExtractContext, ExtractResult
from tasks.landing import Landing, Manifest
from tasks.marketing.rest.auth import MemoryTokens
from tasks.marketing.rest.channel import Channel
from tasks.marketing.rest.clock import ManualClock
from tasks.marketing.rest.common import Common
from tasks.marketing.rest.extract import extract_table
from tasks.sources import TableRef, load_sources
from tasks.sources.window import Window

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


class Script(Fake):
    """An API made of a function."""

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self._answer = answer

    def answer(self, asked: Asked) -> Answer:
        found = self._answer(asked)
        return found if isinstance(found, Answer) else Answer(found)


@contextmanager
def serving(**fakes: Fake) -> Iterator[str]:
    """Serve fakes, and yield the address above them."""
    with Server(fakes) as server:
        yield server.url


class Pulls:
    """A source that is read again and again, its state kept as a checkpoint keeps it."""

    def __init__(self, home: Path, source: Mapping[str, Any], now: datetime = NOW, name: str = "shop") -> None:
        self.name = name
        home.mkdir(parents=True, exist_ok=True)
        path = home / "sources.yaml"
        path.write_text(json.dumps({"sources": {name: source}}, default=str))
        self.sources = load_sources(path, {})
        self.landing = Landing.open(str(home / "landing"))
        self.clock = ManualClock(now)
        self.tokens = MemoryTokens()
        self.states: dict[str, dict[str, Any]] = {}

    def ref(self, table: str) -> TableRef:
        return self.sources.table(f"{self.name}.{table}")

    def open(self) -> Channel:
        ref = next(iter(self.sources.refs()))
        channel: Channel = ref.connector.open(self.name, ref.source, Common(self.tokens, self.clock))  # type: ignore[attr-defined]
        return channel

    def pull(
        self,
        table: str,
        window: tuple[date, date] | None = None,
        held: Mapping[str, Mapping[str, int]] = MappingProxyType({}),
    ) -> ExtractResult:
        """Read a table once; its state moves on as if everything landed was loaded, whatever is raised."""
        wanted = Window(*window) if window else None
        context = ExtractContext(self.landing, state=self.states.get(table, {}), window=wanted, held=held)
        known = set(self.landing.batches(self.name, table))
        try:
            return extract_table(self.ref(table), context, self.open)
        finally:
            for batch_id in self.landing.batches(self.name, table):
                if batch_id not in known:
                    manifest = self.landing.manifest(self.name, table, batch_id)
                    self.states[table] = manifest.moved(self.states.get(table, {}))

    def manifests(self, table: str) -> list[Manifest]:
        return [self.landing.manifest(self.name, table, name) for name in self.landing.batches(self.name, table)]

    def rows(self, manifest: Manifest) -> list[dict[str, Any]]:
        """Return the landed rows under their plain names."""
        found = []
        for part in manifest.of_kind("rows"):
            frame = self.landing.read(manifest, part)
            for row in frame.iter_rows(named=True):
                plain: dict[str, Any] = {}
                for name, value in row.items():
                    if "|" in name and value is not None:
                        plain[name.rpartition("|")[0]] = value
                found.append(plain)
        return found

    def last(self, table: str) -> list[dict[str, Any]]:
        return self.rows(self.manifests(table)[-1])


def kinds(frame: pl.DataFrame) -> list[str]:
    """Return the landed columns of a frame."""
    return [name for name in frame.columns if "|" in name]
