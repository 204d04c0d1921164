"""What the log keeps of one table's part of a run: an object from the work to the log, columns by name only there."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class TableMetrics:
    """What extraction and loading both know; each adds its own.

    Attributes:
        rows_landed: Rows landed by extraction: less than read where some had landed before.
        rows_rejected: Documents or rows that are kept as rejects, or break a rule.
        rows_warned: Documents or rows that were taken although they break a rule.
        seconds: Time spent on the data.
        window_from: From where the source was read, as people would say it.
        window_to: Up to where.
        batch_id: The last batch.
    """

    rows_landed: int = 0
    rows_rejected: int = 0
    rows_warned: int = 0
    seconds: float = 0.0
    window_from: str | None = None
    window_to: str | None = None
    batch_id: str | None = None

    @property
    def rows(self) -> int:
        """The rows that the seconds were spent on."""
        return self.rows_landed

    def row(self) -> dict[str, Any]:
        """Return columns of monitoring.pipeline_log, with the rows in a second."""
        return {**asdict(self), "rows_per_second": round(self.rows / self.seconds) if self.seconds else None}
