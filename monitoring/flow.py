"""Subflow monitoring: Prefect's history into the logging table, then what people should know of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from monitoring import alerts, checks, history, log, read, report
from monitoring.clock import Clock
from monitoring.hooks import RECORDED
from tasks.errors import WarehouseUnreachable, redact

if TYPE_CHECKING:
    import psycopg


@flow(name="monitoring", flow_run_name="monitoring", **RECORDED)
def monitoring(run: str | None = None, problems: list[str] | None = None) -> State[Any]:
    """Log and report one pipeline run, then look at everything else: runs, freshness, figures, alerts.

    Args:
        run: Flow run id of the pipeline; none means no report, as in the hourly run.
        problems: What the pipeline knows went wrong, when it is still running itself.
    """
    from tasks.database import connect
    from tasks.ops.migrations import migrate
    from tasks.settings import get_settings

    settings = get_settings()
    clock = Clock()
    with history.prefect_client() as client:
        with clock.part("this run's history"):
            rows = history.collect(client, run, problems or []) if run else []
        try:
            connection = connect(settings.database_url(), autocommit=True)
        except WarehouseUnreachable as error:
            # The report is wanted most when the warehouse is gone; the next run writes the log.
            if run:
                _publish(report.build(rows))
            return Failed(message=f"WarehouseUnreachable: {redact(str(error))}")
        with connection:
            with clock.part("log"):
                migrate(connection)
                log.write(connection, rows)
            with clock.part("other runs"):
                written = len(rows) + history.look(client, connection, but=run)
            wrong = []
            for name, check in checks.CHECKS.items():
                with clock.part(name):
                    problem = _guarded(check, connection, settings)
                wrong += [f"{name}: {problem}"] if problem else []
            said = f"{written} log row(s)" + (f"; {'; '.join(wrong)}" if wrong else "")
            told = len(alerts.channels(client, alerts.ALERT))
            # The report says whether anybody is told; what it takes itself is known after it.
            log.note_look(connection, said, told, clock.parts)
            if run:
                with clock.part("report of the run"):
                    _publish(read.build_report(connection, run) or report.build(rows))
                log.note_look(connection, said, told, clock.parts)
    return Failed(message=said) if wrong else Completed(message=said)


def _guarded(check: Callable[..., None], connection: psycopg.Connection[Any], settings: Any) -> str:
    """Make one check; return what went wrong with it, as it must not take the others along."""
    try:
        check(connection, settings, datetime.now(UTC))
    except Exception as error:
        return redact(f"{type(error).__name__}: {error}")
    return ""


def _publish(run_report: report.RunReport) -> None:
    """Make the report's artifacts; the key `run-report` is always the newest run."""
    from prefect.artifacts import create_markdown_artifact, create_table_artifact

    get_run_logger().info(run_report.headline)
    create_markdown_artifact(
        report.render_markdown(run_report), key="run-report", description=run_report.headline[:200]
    )
    create_table_artifact(table=report.table_cells(run_report), key="run-tables", description="figures per table")
