"""The report of a run from the logging table; Prefect is not needed."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from monitoring import lineage, log, queries, report
from monitoring.freshness import Verdict

if TYPE_CHECKING:
    import psycopg


NOBODY = (
    "Nobody is told of failures: no notification block is called `warehouse-alert` (docs/alerts.md). "
    "Look at this report every day until one is."
)
"""What every report says while there is no channel."""


def build_report(connection: psycopg.Connection[Any], run_id: str) -> report.RunReport | None:
    """Return the report of a logged pipeline run, against the run before it; None when it is not logged."""
    rows = log.read_run(connection, run_id)
    if not rows:
        return None
    before = log.latest_run(connection, before=run_id)
    previous = log.read_run(connection, before) if before else []
    batches = [row["batch_id"] for row in rows]
    context = report.Context(
        freshness=verdicts(connection),
        rejected=log.rejected(connection, batches, report.IDS),
        rescued=log.rescued(connection, batches, report.FIELDS),
        refused=log.refused_files(connection, batches, report.FILES),
        notes=notes(connection),
        incidents=queries.incidents(connection, open_only=True),
        owners=lineage.owners(connection),
    )
    return report.build(rows, previous, log.schema_changes(connection, batches), context)


def verdicts(connection: psycopg.Connection[Any]) -> list[Verdict]:
    """Return the verdicts of the last monitoring run; a promise that was broken since is."""
    return [
        Verdict(
            *(row.layer, row.relation, row.as_of, timedelta(seconds=row.sla_seconds), row.state, row.since),
            *(row.because, row.owner),
        )
        for row in queries.freshness(connection)
    ]


def notes(connection: psycopg.Connection[Any]) -> list[str]:
    """Return what every report says of monitoring itself: that nobody is told, what is open, what it cannot read."""
    said = []
    look = connection.execute("select told from monitoring.looks").fetchone()
    if look is not None and look[0] == 0:
        said.append(NOBODY)
    open_ = queries.incidents(connection, open_only=True)
    if open_:
        waiting = sum(one.acknowledged_at is None for one in open_)
        said.append(f"{len(open_)} open incident(s), {waiting} not acknowledged: `warehouse incidents list`.")
    said += [f"Configuration: {relation}: {problem}." for relation, problem in lineage.problems(connection)]
    return said
