"""The report of a run from the logging table; Prefect is not needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from monitoring import checks, log, queries, report

if TYPE_CHECKING:
    import psycopg


def build_report(connection: psycopg.Connection[Any], run_id: str) -> report.RunReport | None:
    """Return the report of a logged pipeline run, against the run before it; None when it is not logged."""
    rows = log.read_run(connection, run_id)
    if not rows:
        return None
    before = log.latest_run(connection, before=run_id)
    previous = log.read_run(connection, before) if before else []
    batches = [row["batch_id"] for row in rows]
    context = report.Context(
        freshness=checks.verdicts(connection),
        rejected=log.rejected(connection, batches, report.IDS),
        rescued=log.rescued(connection, batches, report.FIELDS),
        refused=log.refused_files(connection, batches, report.FILES),
        notes=checks.notes(connection),
        incidents=queries.incidents(connection, open_only=True),
    )
    return report.build(rows, previous, log.schema_changes(connection, batches), context)
