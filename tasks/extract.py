"""The one door to extraction: a table goes in, a landed batch comes out, whatever the source is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tasks.landing import Landing, Manifest
    from tasks.marketing.rest.windows import Window
    from tasks.sources import TableRef
    from tasks.sources.connector import Shared


@dataclass(frozen=True)
class ExtractResult:
    """What one extract did.

    Attributes:
        manifest: The landed batch, or None when there was nothing to land.
        metrics: Columns of monitoring.pipeline_log that extract knows.
        warnings: Sentences for the run report, such as a cursor without an index.
    """

    manifest: Manifest | None
    metrics: dict[str, Any]
    warnings: tuple[str, ...] = ()


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


def extract_table(ref: TableRef, context: ExtractContext) -> ExtractResult:
    """Read what is new in a table and land it.

    Raises:
        SourceError: The source could not be read; nothing was committed.
        LandingError: The landing could not be written; nothing was committed.
    """
    return ref.connector.extract(ref, context)
