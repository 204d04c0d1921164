"""A kind of source that the product knows nothing of: lines of JSON in a file that only grows.

A line that starts with `!` is broken: it becomes a reject, and its decoding anew only succeeds once `mended` is set.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, Literal

import bson
import polars as pl

from tasks.errors import SourceUnreachable
from tasks.extract import ExtractContext, ExtractMetrics, ExtractResult
from tasks.landing import BatchPlan, Manifest, Segment, new_batch_id
from tasks.landing.decoder import make_decoder
from tasks.landing.lander import Lander
from tasks.sources import Source, Table, TableRef
from tasks.sources.connector import Connector, Finding, Sample, Shared


class ToyTable(Table):
    file: str
    ranges: int = 1


class ToySource(Source):
    kind: Literal["toy"]
    folder: Path
    mended: bool = False
    tables: dict[str, ToyTable]


ToyRef = TableRef[ToySource, ToyTable]


@dataclass
class Once:
    """What the tables of one run share: how often the folder was looked at."""

    state_of: Callable[[TableRef], dict[str, Any]]
    states: dict[str, dict[str, Any]] = field(default_factory=dict)

    def state(self, ref: TableRef) -> dict[str, Any]:
        return self.states.setdefault(ref.name, self.state_of(ref))


class ToyConnector(Connector[ToySource, ToyTable]):
    config = ToySource
    shared: ClassVar[list[Shared]] = []

    def check(self, name: str, source: ToySource) -> Iterator[Finding]:
        for table_name, table in source.tables.items():
            there = (source.folder / table.file).exists()
            yield Finding("ok" if there else "wrong", f"{name}.{table_name}", "a toy" if there else "no toy")

    def mode(self, ref: ToyRef) -> str:
        return "growing"

    def extract(self, ref: ToyRef, context: ExtractContext) -> ExtractResult:
        if context.segment:
            assert context.batch_id is not None
            plan = context.landing.plan(ref.source_name, ref.table_name, context.batch_id)
            self._land(ref, context, context.batch_id, context.segment[0], *plan.ranges[context.segment[0]])
            return ExtractResult(None, ExtractMetrics())
        begin, end = context.state.get("lines", 0), len(_lines(ref))
        if begin == end:
            return ExtractResult(None, ExtractMetrics())
        at = datetime.now(UTC)
        batch_id = new_batch_id(at)
        return self._commit(ref, context, batch_id, [self._land(ref, context, batch_id, 0, begin, end)], at, end)

    def usable_state(self, ref: ToyRef, state: Mapping[str, Any]) -> dict[str, Any]:
        return dict(state) if isinstance(state.get("lines"), int) else {}

    def describe_state(self, state: Mapping[str, Any]) -> str:
        return f"line {state['lines'] + 1}"

    def most_ranges(self, ref: ToyRef, first: bool) -> int:
        return ref.table.ranges if first else 1

    def plan(self, ref: ToyRef, context: ExtractContext) -> tuple[str, int]:
        at, lines, count = datetime.now(UTC), len(_lines(ref)), ref.table.ranges
        batch_id = new_batch_id(at)
        edges = [lines * number // count for number in range(count + 1)]
        plan = BatchPlan(key={}, ranges=[list(pair) for pair in itertools.pairwise(edges)], extracted_at=at)
        context.landing.write_plan(ref.source_name, ref.table_name, batch_id, plan)
        return batch_id, count

    def join(self, ref: ToyRef, context: ExtractContext) -> ExtractResult:
        assert context.batch_id is not None
        place = (ref.source_name, ref.table_name, context.batch_id)
        plan, segments = context.landing.plan(*place), context.landing.segments(*place)
        end = plan.ranges[-1][1]
        return self._commit(ref, context, context.batch_id, list(segments.values()), plan.extracted_at, end)

    def share(self, refs: Sequence[ToyRef], state_of: Callable[[TableRef], dict[str, Any]]) -> Mapping[str, Shared]:
        once = Once(state_of)
        self.shared.append(once)
        return {ref.name: once for ref in refs}

    def sample(self, ref: ToyRef, documents: int) -> Sample:
        decoder = make_decoder(seed=ref.table.fingerprint())
        good = [line for line in _lines(ref) if not line.startswith("!")]
        for line in good[:documents]:
            decoder.push(bson.encode(json.loads(line)))
        return Sample(decoder.flush().tables[""], len(good))

    def decode_reject(self, ref: ToyRef, raw: bytes) -> dict[str, pl.DataFrame]:
        if not ref.source.mended:
            return {}
        decoder = make_decoder(seed=ref.table.fingerprint())
        decoder.push(bson.encode(json.loads(raw.decode().removeprefix("!"))))
        return decoder.flush().tables

    def _land(self, ref: ToyRef, context: ExtractContext, batch_id: str, index: int, begin: int, end: int) -> Segment:
        with context.landing.writer(ref.source_name, ref.table_name, batch_id, index) as writer:
            lander = Lander(writer, ref.table, context.memory_bytes)
            for line in _lines(ref)[begin:end]:
                if line.startswith("!"):
                    lander.reject("broken", line.encode())
                else:
                    lander.add(bson.encode(json.loads(line)))
            return lander.finish()

    def _commit(
        self, ref: ToyRef, context: ExtractContext, batch_id: str, segments: list[Segment], at: datetime, end: int
    ) -> ExtractResult:
        manifest: Manifest = context.landing.commit(
            ref.source_name,
            ref.table_name,
            batch_id,
            segments,
            mode=self.mode(ref),
            checkpoint={"lines": end},
            previous_checkpoint=context.state,
            extracted_at=at,
            fingerprint=f"{ref.table.fingerprint():016x}",
        )
        return ExtractResult(manifest, ExtractMetrics.of([manifest]))


def _lines(ref: ToyRef) -> list[str]:
    try:
        return (ref.source.folder / ref.table.file).read_text().splitlines()
    except OSError as error:
        raise SourceUnreachable(f"no toy: {error}", ref.name, "make one") from error
