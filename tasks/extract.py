"""The one door to extraction: a table goes in, a landed batch comes out, whatever the source is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from tasks.table_metrics import TableMetrics

if TYPE_CHECKING:
    from tasks.landing import Landing, Manifest, Segment
    from tasks.sources import TableRef
    from tasks.sources.connector import Shared
    from tasks.sources.window import Window


@dataclass(frozen=True, kw_only=True)
class ExtractMetrics(TableMetrics):
    """The columns of monitoring.pipeline_log that extract knows.

    Attributes:
        rows_read: Documents or rows read, those rejected included.
        bytes_read: Bytes that came from the source.
        warned: By rule how many documents break it and were landed; no column of its own.
    """

    rows_read: int = 0
    bytes_read: int = 0
    warned: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, landed: Sequence[Manifest] | Sequence[Segment]) -> ExtractMetrics:
        """Return the sums over the batches of one extract, or over ranges of one batch that is not committed yet."""
        last = landed[-1] if landed else None
        window = getattr(last, "window", {})
        return cls(
            # What a rule holds back was read as any row is, and is a reject beside.
            rows_read=sum(one.rows_read + one.reject_rows - one.held_rows for one in landed),
            bytes_read=sum(one.source_bytes for one in landed),
            rows_landed=sum(one.rows for one in landed),
            rows_rejected=sum(one.reject_rows for one in landed),
            rows_warned=sum(one.warned_rows for one in landed),
            seconds=round(sum(one.seconds for one in landed), 3),
            window_from=window.get("from"),
            window_to=window.get("to"),
            batch_id=getattr(last, "batch_id", None),
            warned=dict(sum((Counter(one.warned) for one in landed), Counter())),
        )

    @property
    def rows(self) -> int:
        """The rows that were read."""
        return self.rows_read

    def row(self) -> dict[str, Any]:
        """Return the columns by name."""
        return {name: value for name, value in super().row().items() if name != "warned"}


@dataclass(frozen=True)
class ExtractResult:
    """What one extract did.

    Attributes:
        manifest: The landed batch, or None when there was nothing to land.
        metrics: What the log keeps of it.
        warnings: Sentences for the run report, such as a cursor without an index.
        refused: Parts of the source that were refused as a whole, such as files; each is a reject, too.
    """

    manifest: Manifest | None
    metrics: ExtractMetrics
    warnings: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()


@dataclass(frozen=True)
class ExtractContext:
    """What extraction needs beside the table itself.

    Attributes:
        landing: Where to land.
        state: The checkpoint's state to start from; empty means from the beginning.
        memory_bytes: Memory budget of this process.
        flow_run_id: The Prefect flow run, for the manifest.
        segment: `(index, count)` when this process reads one range of the batch.
        batch_id: The batch that several processes write together; None means a batch of one's own.
        progress: Called with the rows read so far.
        shared: What the table shares with others of its source in this run; None means nothing.
        window: Days that are to be read again, whatever the state says; None means what is due.
        held: By account and day (ISO) the rows that the warehouse has of the window's days.
    """

    landing: Landing
    state: dict[str, Any] = field(default_factory=dict)
    memory_bytes: int = 512 << 20
    flow_run_id: str | None = None
    segment: tuple[int, int] | None = None
    batch_id: str | None = None
    progress: Callable[[int], None] | None = None
    shared: Shared | None = None
    window: Window | None = None
    held: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


def extract_table(ref: TableRef, context: ExtractContext) -> ExtractResult:
    """Read what is new in a table and land it.

    Raises:
        SourceError: The source could not be read; nothing was committed.
        LandingError: The landing could not be written; nothing was committed.
    """
    result = ref.connector.extract(ref, context)
    broken = result.metrics.warned.items()
    told = tuple(f"{ref.name}: {count:,} document(s) break the rule {name!r}" for name, count in broken)
    return replace(result, warnings=(*result.warnings, *told, *_converted(ref, result.manifest)))


def _converted(ref: TableRef, manifest: Manifest | None) -> Iterator[str]:
    """Say how many values came as another type than the declared one and were read as that.

    Not of a field that came as text alone, as those of CSV files do: there is no other way to read it.
    """
    fields = manifest.fields if manifest and ref.table.types else {}
    counts = [f"{path} {found.converted:,}" for path, found in fields.items() if found.converted and found.is_mixed]
    if counts:
        yield f"{ref.name}: values of another type that were read exactly as the declared one: {', '.join(counts)}"
